// One button for each thing that the client does; below is what came of it.

const { isDenied } = require('../../menshen.js');

Page({
  data: { shown: '' },

  call() {
    return this.show(getApp().menshen.request({ url: '/hello' }).then(({ data }) => data));
  },

  token() {
    return this.show(getApp().menshen.token());
  },

  upload() {
    const chosen = new Promise((success, fail) => wx.chooseMedia({ count: 1, mediaType: ['image'], success, fail }));
    const sent = chosen.then(({ tempFiles }) =>
      getApp().menshen.uploadFile({ url: '/photos', filePath: tempFiles[0].tempFilePath, name: 'photo' }),
    );
    return this.show(sent.then(({ data }) => data));
  },

  check() {
    return this.show(getApp().menshen.checkSession());
  },

  phone(event) {
    return this.show(getApp().menshen.phoneNumber(event, { url: '/phone' }).then(({ data }) => data));
  },

  album() {
    return this.show(getApp().menshen.permission('scope.writePhotosAlbum', 'The album is needed to save pictures.'));
  },

  logout() {
    return this.show(getApp().menshen.logout().then(() => 'logged out'));
  },

  show(outcome) {
    return outcome.then(
      (shown) => this.setData({ shown: typeof shown === 'string' ? shown : JSON.stringify(shown, null, 2) }),
      (reason) => this.setData({ shown: isDenied(reason) ? 'You said no. Go on without it; the button asks again.' : `${reason.error || ''} ${reason.errMsg}` }),
    );
  },
});
