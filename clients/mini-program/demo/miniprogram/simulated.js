// Takes codes from the simulated WeChat, for whom a code of the real one means nothing.

function simulated(wx, { simulator, appid }) {
  return Object.assign({}, wx, {
    login({ success, fail }) {
      wx.request({
        url: `${simulator}/_sim/login`,
        method: 'POST',
        data: { appid, user: 'alice' },
        success: ({ data }) => (data.code ? success({ code: data.code, errMsg: 'login:ok' }) : fail({ errMsg: `login:fail ${data.error}` })),
        fail,
      });
    },
    checkSession: ({ success }) => success({ errMsg: 'checkSession:ok' }),
  });
}

module.exports = { simulated };
