"""The configuration files of the backend and of each proxy, to be filled in."""

NGINX = """
{user}
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; multi_accept on; }}
http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
}}
"""

BACKEND = """
    sendfile on;
    tcp_nopush on;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {folder}/www;
        default_type text/plain;
        location = /small {{ return 200 "{small}"; }}
        location = /open/small {{ return 200 "{small}"; }}
        location = /post {{ client_max_body_size 0; return 200 "{small}"; }}
        # Answered when the body is there as a whole: nginx itself answers `return` before.
        location = /upload {{
            client_body_buffer_size 80m;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_method GET;
            proxy_pass http://127.0.0.1:{port}/small;
        }}
        location = /openid {{ return 200 "[$http_x_wx_openid]"; }}
        location = /open/openid {{ return 200 "[$http_x_wx_openid]"; }}
    }}
"""

PASSING = """
    upstream backend {{ server 127.0.0.1:{backend}; keepalive 512; keepalive_requests 1000000000; keepalive_timeout 600s; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{tls_port} ssl http2 backlog=4096;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        location / {{
            {check}
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
        location = /ws {{
            proxy_pass http://127.0.0.1:{sockets};
            proxy_http_version 1.1;
            proxy_set_header Connection "upgrade";
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Host $host;
            proxy_read_timeout 600s;
        }}
        {more}
    }}
"""

AUTH_REQUEST = """
            auth_request /_menshen;
            auth_request_set $openid $upstream_http_x_wx_openid;
            proxy_set_header X-WX-OPENID $openid;
            proxy_set_header Authorization "";
"""

ASK = """
        location = /_menshen {{
            internal;
            proxy_pass http://verify/_auth/verify;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-Method $request_method;
            proxy_set_header X-Forwarded-Uri $request_uri;
            proxy_set_header X-Forwarded-Host $host;
        }}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 4000
    tune.ssl.default-dh-param 2048
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
    timeout http-request 30s
frontend public
    bind 127.0.0.1:{port} backlog 4096
    bind 127.0.0.1:{tls_port} ssl crt {both} alpn h2,http/1.1 backlog 4096
    http-request set-var(txn.bearer) http_auth_bearer
    http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
    http-request deny unless {{ var(txn.alg) -m str {algorithm} }}
    http-request deny unless {{ var(txn.bearer),jwt_verify(txn.alg,"{key}") 1 }}
{claims}
    default_backend all
backend all
    server one 127.0.0.1:{backend}
"""

# What Menshen checks and does as well.
CLAIMS = """
    http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
    http-request set-var(txn.now) date()
    http-request deny unless {{ var(txn.bearer),jwt_payload_query('$.iss') -m str menshen }}
    http-request deny unless {{ var(txn.bearer),jwt_payload_query('$.aud') -m str {appid} }}
    http-request deny if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
    http-request set-header X-WX-OPENID %[var(txn.bearer),jwt_payload_query('$.sub')]
    http-request del-header Authorization
    http-request set-header X-Forwarded-For %[src]
"""

MENSHEN = """
[server]
listen = ["127.0.0.1:{port}"]
threads = {threads}
keepalive = "10m"
trusted_proxies = [{trusted}]
{tls}
[control]
listen = ""
[wechat]
api_base = "http://127.0.0.1:{wechat}"
[[app]]
name = "{app}"
kind = "mini_program"
appid = "{appid}"
secret_env = "BENCH_APP_SECRET"
[token]
algorithm = "{algorithm}"
keys_dir = "{keys}"
[session]
path = "{folder}/data"
[[upstream]]
name = "backend"
servers = ["127.0.0.1:{backend}"]
keepalive = "10m"
[[upstream]]
name = "sockets"
servers = ["127.0.0.1:{sockets}"]
read_timeout = "10m"
[[route]]
path = "/"
upstream = "backend"
auth = "required"
max_body = "1GiB"
[[route]]
path = "/ws"
upstream = "sockets"
auth = "required"
[[route]]
path = "/open"
upstream = "backend"
auth = "public"
[log]
{log}
"""
