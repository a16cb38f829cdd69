// Lets the client run on Taro, whose calls return promises that reject beside the callbacks.

/** Makes the `wx` of `createClient` from `Taro`. */
export function taroPlatform(Taro) {
  const platform = {};
  for (const call of ['login', 'request', 'uploadFile', 'downloadFile', 'connectSocket', 'checkSession', 'getRandomValues', 'authorize', 'showModal', 'openSetting']) {
    if (!Taro[call]) continue;
    platform[call] = (options) => {
      const task = Taro[call](options);
      // Its failure has been told to `fail`.
      if (task && task.catch && call !== 'connectSocket') task.catch(() => {});
      return task;
    };
  }
  for (const call of ['getStorageSync', 'setStorageSync', 'removeStorageSync']) {
    platform[call] = (...values) => Taro[call](...values);
  }
  return platform;
}
