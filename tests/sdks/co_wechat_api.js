// Calls WeChat with co-wechat-api, of which nothing is changed but the base address.
'use strict';

const fs = require('node:fs');
const formstream = require('formstream');
const WechatAPI = require('co-wechat-api');

const { RELAY, APPID, SECRET, CODE, OPENID, PICTURE } = process.env;

const api = new WechatAPI(APPID, SECRET);
api.prefix = `${RELAY}/cgi-bin/`;
api.wxaPrefix = `${RELAY}/wxa/`;

async function main() {
  const { accessToken } = await api.ensureAccessToken();
  const post = (path, data) =>
    api.request(`${api.wxaPrefix}${path}?access_token=${accessToken}`, {
      method: 'POST',
      data: JSON.stringify(data),
      headers: { 'Content-Type': 'application/json' },
    });
  const number = await post('business/getuserphonenumber', { code: CODE });
  const sent = await api.sendSubscribeMessage(OPENID, 't1', undefined, { thing1: { value: '门神' } });
  const picture = await post('getwxacodeunlimit', { scene: 'a=1' });
  fs.writeFileSync(PICTURE, picture);
  const form = formstream();
  form.file('media', PICTURE, 'a.png', picture.length);
  const checked = await api.request(`${api.wxaPrefix}img_sec_check?access_token=${accessToken}`, {
    method: 'POST',
    timeout: 60000,
    headers: form.headers(),
    data: form,
  });
  const told = {
    phone: number.phone_info.purePhoneNumber,
    sent: sent.errcode,
    picture: picture.length,
    checked: checked.errcode,
  };
  process.stdout.write(JSON.stringify(told));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
