#!/usr/bin/env bash
# Follows docs/en/quickstart.md (or, given zh, docs/zh/quickstart.md) word by word in a bare Debian, with a clone of what is committed:
# each command of the page is run as it stands there, the playground is clicked through in a browser in the page's order, and the page's
# mini-program logs in. Needs root, the ports 443 of 127.0.0.77, 3000 and 8080, and `make test-deps`; it builds the program as a reader
# does: minutes. TARGET names a folder in which that build is kept for the next run.
#
# WeChat itself is not to be had here: the simulator answers at its name, with a certificate that this Debian believes.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/debian/bare.sh
. tests/debian/bare.sh

language=${1:-en}
page=$repository/docs/$language/quickstart.md
person=$repository/tests/debian/quickstart.mjs
secret=0123456789abcdef0123456789abcdef
wechat=127.0.0.77
declare -A running

main() {
  in_namespace "$@"
  logs=$(mktemp -d)
  trap stop_all EXIT
  local port
  for port in 8080 3000; do
    ! (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || fail "something listens on port $port already"
  done
  bare
  # What the page says that one needs, and a clone.
  within "apt-get install -qq -y git make > /dev/null"
  git clone --quiet "$repository" "$root/root/menshen"
  folder=/root/menshen
  if [ -n "${TARGET:-}" ]; then
    mkdir -p "$TARGET" "$root$folder/target"
    mount --bind "$TARGET" "$root$folder/target"
  fi
  without_an_account
  with_an_own_backend
  with_an_own_mini_program
  on_a_phone
  say "$page leads there"
}

without_an_account() {
  start menshen "$(block_of "$page" sh 1)"
  until_said menshen '^curl '
  playground=$(grep -oE 'http://[^ ]+/_dev' "$logs/menshen" | head -1)
  # The buttons of the list, as the page names them in its language.
  local buttons
  mapfile -t buttons < <(awk '/^## /{ section++ } section == 1 && /^ *[0-9]+\. |^   /' "$page" | buttons_in)
  [ ${#buttons[@]} = 7 ] || fail "these are not the seven buttons: ${buttons[*]}"
  node "$person" playground "$playground" "$language" "${buttons[@]}" || fail "the playground does not do what the page says"
  stop menshen
}

# Prints the buttons that a text names, a line each: in Chinese the name stands behind the English one.
buttons_in() {
  if [ "$language" = zh ]; then
    grep -oE '`[A-Z][A-Za-z ]+`（[^）]+）' | sed 's/.*（\(.*\)）/\1/'
  else
    grep -oE '`[A-Z][A-Za-z ]+`' | tr -d '`'
  fi
}

with_an_own_backend() {
  start_here backend node "$person" backend 3000
  until_said backend listens
  start menshen "$(block_of "$page" sh 2)"
  until_said menshen '^curl '
  # What is printed is pasted into a shell.
  local said
  said=$(within "$(sed -n '/^CODE=/,$p' "$logs/menshen")")
  grep -q '"x-wx-openid":"o.*"x-wx-source":"wx_client"' <<< "$said" || fail "the own backend was not asked: $said"
  ! grep -q authorization <<< "$said" || fail "the own backend got the token: $said"
  stop menshen
  stop backend
}

with_an_own_mini_program() {
  real_wechat
  log_in_with_the_mini_program "$(block_of "$page" sh 3)" 127.0.0.1
}

on_a_phone() {
  log_in_with_the_mini_program "$(block_of "$page" sh 4)" "$(hostname -I | tr ' ' '\n' | grep -m1 -v '^127\.')"
}

# Has the simulator answer as api.weixin.qq.com in the root.
real_wechat() {
  local keys=$root/root/wechat
  mkdir "$keys"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=api.weixin.qq.com \
    -addext subjectAltName=DNS:api.weixin.qq.com -addext basicConstraints=critical,CA:false \
    -keyout "$keys/key.pem" -out "$keys/cert.pem" 2> /dev/null
  cat "$keys/cert.pem" >> "$root/etc/ssl/certs/ca-certificates.crt"
  echo "$wechat api.weixin.qq.com" >> "$root/etc/hosts"
  start simulator "cargo run --locked --quiet -- simulate --listen 127.0.0.1:0 --app wx0123456789abcdef:$secret"
  until_said simulator 'http://127.0.0.1:'
  simulator=$(grep -oE '127\.0\.0\.1:[0-9]+' "$logs/simulator" | head -1)
  start_here front node "$person" front "$wechat" "$keys" "$simulator"
  until_said front listens
}

# Runs a command that asks for the AppSecret, and the page's mini-program.
log_in_with_the_mini_program() {
  start_at_a_terminal menshen "$1"
  until_said menshen 'AppSecret of wx0123456789abcdef'
  echo "$secret" >&4
  until_said menshen '/_dev'
  ! grep -q "$secret" "$logs/menshen" || fail "the terminal shows the AppSecret"
  local code said
  code=$(curl -sf --noproxy '*' "http://$simulator/_sim/login" -d '{"appid":"wx0123456789abcdef","user":"alice"}' | cut -d'"' -f4)
  block_of "$page" js 1 | sed "s|http://127.0.0.1:8080|http://$2:8080|" > "$logs/app.js"
  said=$(node "$person" mini-program "$logs/app.js" "$code")
  grep -q '^200 ' <<< "$said" || fail "the mini-program does not log in: $said"
  say "the mini-program says: ${said:0:80}"
  exec 4>&-
  stop menshen
}

# Starts shell in the root, and keeps what it says under a name.
start() {
  local command
  command_for "$2"
  say "$2"
  start_here "$1" "${command[@]}"
}

# The same where a person sits at a terminal, who types what is written to descriptor 4.
start_at_a_terminal() {
  local command
  command_for "$2"
  say "$2"
  rm -f "$logs/typed" && mkfifo "$logs/typed"
  exec 4<> "$logs/typed"
  start_here "$1" script -qefc "$(printf '%q ' "${command[@]}")" /dev/null < "$logs/typed"
}

# Starts a command of this machine's.
start_here() {
  # Without a redirection of its own, what is started behind has no input.
  setsid "${@:2}" <&0 > "$logs/$1" 2>&1 &
  running[$1]=$!
}

# Waits for something to be said.
until_said() {
  local _
  # The first build takes minutes.
  for _ in $(seq 6000); do
    ! grep -qE "$2" "$logs/$1" || return 0
    kill -0 "${running[$1]}" 2> /dev/null || fail "$1 has ended"
    sleep 0.2
  done
  fail "$1 does not say $2"
}

stop() {
  kill -TERM -- "-${running[$1]}" 2> /dev/null || true
  wait "${running[$1]}" 2> /dev/null || true
  unset "running[$1]"
}

stop_all() {
  local name
  for name in "${!running[@]}"; do
    stop "$name"
  done
  clean_up
  rm -r "$logs"
}

say() {
  echo "quickstart: $*" >&2
}

fail() {
  say "$*"
  tail -n 40 "$logs"/* >&2
  exit 1
}

main "$@"
