// Where Menshen is.
// 门神的地址。

module.exports = {
  // What `menshen dev` prints first. On a phone: the address of your machine in the local network.
  // `menshen dev` 打印的第一个地址；真机调试时改为电脑的局域网地址。
  baseUrl: 'http://127.0.0.1:8080',

  // Where WeChat is simulated, as `menshen dev` prints it; '' asks WeChat itself, and needs an AppID of your own.
  // `menshen dev` 打印的微信模拟器地址；留空则走真实微信，此时需要自己的 AppID。
  simulator: 'http://127.0.0.1:8600',

  // The appid that the simulator knows.
  // 模拟器里的 appid。
  appid: 'wx00000000000000aa',
};
