// Where Menshen is: what `menshen dev` prints first. On a phone: the address of your machine in the local network.
// 门神的地址，即 `menshen dev` 打印的第一个地址；真机调试时改为电脑的局域网地址。
const baseUrl = 'http://127.0.0.1:8080';

module.exports = {
  baseUrl,

  // Where WeChat is simulated: `menshen dev` passes these calls on. '' asks WeChat itself, and needs an AppID of your own.
  // 微信模拟器的地址，`menshen dev` 会转发这些请求；留空则走真实微信，此时需要自己的 AppID。
  simulator: baseUrl,

  // The appid that the simulator knows.
  // 模拟器里的 appid。
  appid: 'wx00000000000000aa',
};
