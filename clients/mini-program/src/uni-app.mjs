// Lets the client run on uni-app, whose `uni` gives a task only to those who pass callbacks, and cannot be copied.

/** Makes the `wx` of `createClient` from `uni`. */
export function uniPlatform(uni) {
  const noop = () => {};
  const platform = {
    login: (options) => uni.login(Object.assign({ provider: 'weixin' }, options)),
    connectSocket: (options) => uni.connectSocket(Object.assign({ complete: noop }, options)),
  };
  for (const call of ['request', 'uploadFile', 'downloadFile', 'checkSession', 'getRandomValues', 'authorize', 'showModal', 'openSetting']) {
    if (uni[call]) platform[call] = (options) => uni[call](options);
  }
  for (const call of ['getStorageSync', 'setStorageSync', 'removeStorageSync']) {
    platform[call] = (...values) => uni[call](...values);
  }
  return platform;
}
