// Calls WeChat with node-easywechat, of which nothing is changed but the base address.
'use strict';

const fs = require('node:fs');
const FormData = require('form-data');
const { MiniApp } = require('node-easywechat');

const { RELAY, APPID, SECRET, CODE, OPENID, PICTURE, STABLE } = process.env;

const app = new MiniApp({
  app_id: APPID,
  secret: SECRET,
  use_stable_access_token: STABLE === 'yes',
  http: { baseURL: `${RELAY}/` },
});

async function main() {
  const client = app.getClient();
  const post = async (path, json, more) => client.post(path, { json, ...more });
  const number = (await post('wxa/business/getuserphonenumber', { code: CODE })).toObject();
  const message = { touser: OPENID, template_id: 't1', data: { thing1: { value: '门神' } } };
  const sent = (await post('cgi-bin/message/subscribe/send', message)).toObject();
  const code = await post('wxa/getwxacodeunlimit', { scene: 'a=1' }, { responseType: 'arraybuffer' });
  const picture = Buffer.from(code.getContent());
  fs.writeFileSync(PICTURE, picture);
  const form = new FormData();
  form.append('media', fs.createReadStream(PICTURE));
  const length = await new Promise((resolve, reject) => form.getLength((error, bytes) => (error ? reject(error) : resolve(bytes))));
  const headers = { ...form.getHeaders(), 'Content-Length': length };
  const checked = (await client.post('wxa/img_sec_check', { data: form, headers })).toObject();
  const told = {
    phone: number.phone_info.purePhoneNumber,
    sent: sent.errcode,
    picture: picture.length,
    checked: checked.errcode,
  };
  process.stdout.write(JSON.stringify(told));
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
