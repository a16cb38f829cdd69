//! Asks WeChat for the phone number behind a code of `getPhoneNumber`.

use serde::Serialize;
use serde_json::Value;

use super::{AccessTokens, AnswerError, ApiError, Client, Code, Fields};
use crate::config::App;
use crate::secret::Secret;

const PATH: &str = "/wxa/business/getuserphonenumber";
/// The longest number or country code.
const LONGEST: usize = 32;

/// Whose phone number it must be.
#[derive(Clone, Copy, Debug)]
pub struct PhoneOwner<'a> {
    /// The app.
    pub app: &'a App,
    /// WeChat's id of the user in this app.
    pub openid: &'a str,
}

/// A phone number.
#[derive(Clone, Debug)]
pub struct PhoneNumber {
    /// With the country code where it is not 86.
    pub number: String,
    /// Without it.
    pub without_country: String,
    /// The country code.
    pub country: String,
}

#[derive(Serialize)]
struct Asked<'a> {
    code: &'a str,
    openid: &'a str,
}

impl Client {
    /// Asks for the number; WeChat refuses a code that is not of this user.
    pub async fn phone_number(
        &self,
        tokens: &AccessTokens,
        owner: PhoneOwner<'_>,
        code: &Code,
    ) -> Result<PhoneNumber, ApiError> {
        let token = tokens.of(self, owner.app).await?.token;
        match self.number_once(&token, owner, code).await {
            // WeChat has not looked at the code yet.
            Err(error) if error.says_stale() => {
                let other = tokens.in_place_of(&token, PATH, self, owner.app).await?;
                if other.token == token {
                    return Err(error);
                }
                self.number_once(&other.token, owner, code).await
            }
            done => done,
        }
    }

    async fn number_once(
        &self,
        token: &Secret,
        owner: PhoneOwner<'_>,
        code: &Code,
    ) -> Result<PhoneNumber, ApiError> {
        let started = std::time::Instant::now();
        let answered = self.ask_for_number(token, owner, code).await;
        self.count(owner.app, PATH, &answered, Some(started.elapsed()));
        answered
    }

    async fn ask_for_number(
        &self,
        token: &Secret,
        owner: PhoneOwner<'_>,
        code: &Code,
    ) -> Result<PhoneNumber, ApiError> {
        let (code, openid) = (code.expose(), owner.openid);
        let query = [("access_token", token.expose())];
        let call = self.post_with(PATH, &query, &Asked { code, openid });
        let fields: Fields = call.fields::<ApiError>().await?;
        fields.says_ok()?;
        let number = fields.object("phone_info").and_then(|info| {
            let text = |name| text(info.get(name)?);
            let of_app = info.get("watermark")?.get("appid")?.as_str()? == owner.app.appid;
            of_app.then_some(PhoneNumber {
                number: text("phoneNumber")?,
                without_country: text("purePhoneNumber")?,
                country: text("countryCode")?,
            })
        });
        Ok(number.ok_or(AnswerError::Invalid("it holds no phone number of this app"))?)
    }
}

/// Reads a number, which WeChat writes as a text or as a number.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | ' ');
    let fits = !text.is_empty() && text.len() <= LONGEST && text.chars().all(is_number);
    fits.then_some(text)
}
