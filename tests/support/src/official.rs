//! WeChat's published example of open data, and a WeChat that gives everybody its session_key.

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::{Builder, Program, Reply, Site, TestGateway, make_client};

const APPID: &str = "wx4f4bc4dec97d474b";
const OPENID: &str = "oGZUI0egBJY1zhBYw2KhdUfwVJJE";
const SESSION_KEY: &str = "tiihtNczf5v6AKRyjwEUhQ==";
const IV: &str = "r7BXXKkLb8qrSNn05n0qiA==";
const ENCRYPTED: &str = "CiyLU1Aw2KjvrjMdj8YKliAjtP4gsMZMQmRzooG2xrDcvSnxIMXFufNstNGTyaGS9uT5geRa0W4oTOb1WT7fJlAC+oNPdbB+3hVbJSRgv+4lGOETKUQz6OYStslQ142dNCuabNPGBzlooOmB231qMM85d2/fV6ChevvXvQP8Hkue1poOFtnEtpyxVLW1zAo6/1Xx1COxFvrc2d7UL/lmHInNlxuacJXwu0fjpXfz/YqYzBIBzD6WUfTIF9GRHpOn/Hz7saL8xz+W//FRAUid1OksQaQx4CMs8LOddcQhULW4ucetDf96JcR3g0gfRK4PC7E/r7Z6xNrXd2UIeorGj5Ef7b1pJAYB6Y5anaHqZ9J6nKEBvB4DnNLIVWSgARns/8wR2SiRS7MNACwTyrGvt9ts8p12PKFdlqYTopNHR1Vf7XjfhQlVsAJdNiKdYmYVoKlaRv85IfVunYzO0IKXsyl7JCUjCpoG20f0a04COwfneQAGGwd5oa+T8yO5hzuyDb/XcxxmK01EpqOyuxINew==";

/// A gateway as a process of its own, to which the user of the example has logged in.
pub struct Official {
    /// The process.
    pub program: Program,
    /// The folder and the configuration with which it runs.
    pub site: Site,
    /// Where its private listener decrypts for that user.
    pub url: String,
    /// What is to be decrypted there.
    pub body: Value,
    /// A client without proxies.
    pub http: reqwest::Client,
}

impl Official {
    /// What is encrypted.
    pub const PLAIN: &str = r#"{"openId":"oGZUI0egBJY1zhBYw2KhdUfwVJJE","nickName":"Band","gender":1,"language":"zh_CN","city":"Guangzhou","province":"Guangdong","country":"CN","avatarUrl":"http://wx.qlogo.cn/mmopen/vi_32/aSKcBBPpibyKNicHNTMM0qJVh8Kjgiak2AHWr8MHM4WgMEm7GFhsf8OYrySdbvAMvTsw3mo8ibKicsnfN5pRjl1p8HQ/0","unionId":"ocMvos6NjeKLIBqg5Mr9QjxrP1FA","watermark":{"timestamp":1477314187,"appid":"wx4f4bc4dec97d474b"}}"#;

    /// Starts `binary` and logs the user in.
    pub async fn start(binary: &str, builder: Builder) -> Self {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
        let site = builder.site(nobody, wechat().await);
        let text = fs::read_to_string(&site.config).expect("a file");
        let text = text.replace(&TestGateway::appid("shop"), APPID);
        fs::write(&site.config, text).expect("a file");
        let program = Program::start(site.command(binary, &["serve"]));
        let address = program.find_address().await;
        let control = program.find_control_address().await;
        let http = make_client();
        let login = http.post(format!("http://{address}/_auth/login"));
        let granted = Reply::of(login.json(&json!({"code": "0example"}))).await;
        assert_eq!(granted.status, 200, "{}", granted.text());
        Self {
            program,
            site,
            url: format!("http://{control}/v1/apps/shop/users/{OPENID}/decrypt"),
            body: json!({"encrypted_data": ENCRYPTED, "iv": IV}),
            http,
        }
    }

    /// Has the example decrypted.
    pub async fn decrypt(&self) -> Reply {
        Reply::of(self.http.post(&self.url).json(&self.body)).await
    }
}

/// Starts a WeChat that redeems every code for the user of the example.
async fn wechat() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    let body = json!({"session_key": SESSION_KEY, "openid": OPENID}).to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut head, mut part) = (Vec::new(), [0; 1024]);
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut part).await {
                    Ok(length @ 1..) => head.extend_from_slice(&part[..length]),
                    Ok(0) | Err(_) => break,
                }
            }
            // Nobody waits for it any more when this fails.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}
