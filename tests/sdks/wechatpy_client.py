"""Calls WeChat with wechatpy, of which nothing is changed but the base address."""

import json
import os
import sys

from wechatpy.client import WeChatClient
from wechatpy.client.api import WeChatWxa

BASE = os.environ["RELAY"]


class Client(WeChatClient):
    """The client writes its base address in two places."""

    API_BASE_URL = BASE + "/cgi-bin/"

    def fetch_access_token(self):
        params = {"grant_type": "client_credential", "appid": self.appid, "secret": self.secret}
        return self._fetch_access_token(url=BASE + "/cgi-bin/token", params=params)


WeChatWxa.API_BASE_URL = BASE + "/"

client = Client(os.environ["APPID"], os.environ["SECRET"])
number = client.post(BASE + "/wxa/business/getuserphonenumber", data={"code": os.environ["CODE"]})
sent = client.wxa.send_subscribe_message(os.environ["OPENID"], "t1", {"thing1": {"value": "门神"}})
picture = client.wxa.get_wxa_code_unlimited("a=1").content
with open(os.environ["PICTURE"], "wb") as file:
    file.write(picture)
with open(os.environ["PICTURE"], "rb") as file:
    checked = client.wxa.check_image_security(file)
json.dump(
    {
        "phone": number["phone_info"]["purePhoneNumber"],
        "sent": sent["errcode"],
        "picture": len(picture),
        "checked": checked["errcode"],
    },
    sys.stdout,
)
