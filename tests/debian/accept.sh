#!/usr/bin/env bash
# Runs in a Debian of its own, started by tests/program/package.rs: installs the package, uses it, replaces it by a newer one under
# load, and removes it. Each step that has passed is a line that the test looks for.
set -Eeuo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

secret=0123456789abcdef0123456789abcdef
appid=wx0123456789abcdef

main() {
  trap 'journalctl --no-pager -u menshen -u wechat | tail -60' ERR
  install
  start
  use
  reload
  upgrade
  restart
  back_up
  remove
  purge
  passed all
}

passed() {
  echo "passed: $1"
}

fail() {
  echo "failed: $1"
  journalctl --no-pager -u menshen -u wechat | tail -60
  exit 1
}

eventually() {
  local _
  for _ in $(seq 150); do
    "$@" > /dev/null 2>&1 && return
    sleep 0.1
  done
  fail "$*"
}

install() {
  dpkg -i /accept/first.deb
  menshen --version | grep -q '^menshen '
  # A package that was made without dpkg-shlibdeps names no C library.
  dpkg -s menshen | grep -q '^Depends:.*libc6'
  [ "$(systemctl is-enabled menshen || true)" = disabled ]
  [ "$(systemctl is-active menshen || true)" = inactive ]
  # As it comes it is a configuration, but for the secret.
  SHOP_APP_SECRET=$secret as_menshen check
  bash -n /usr/share/bash-completion/completions/menshen
  zcat /usr/share/man/man1/menshen-serve.1.gz | grep -q upgrade
  passed install
}

start() {
  # A WeChat, which is the backend as well.
  systemd-run --quiet --unit=wechat menshen simulate --listen 127.0.0.1:8600 --app $appid:$secret
  eventually curl -sf http://127.0.0.1:8600/_sim/calls
  sed -i 's|"127.0.0.1:3000"|"127.0.0.1:8600"|' /etc/menshen/menshen.toml
  sed -i 's|^api_base = .*|api_base = "http://127.0.0.1:8600"|; s|^allow_plain_http = .*|allow_plain_http = true|' /etc/menshen/menshen.toml
  sed -i "s|^access = true|access = false|" /etc/menshen/menshen.toml
  install_secret
  # It returns when clients are served.
  systemctl enable --now menshen
  curl -sf http://127.0.0.1:9090/readyz | grep -q '"ready"'
  passed start
}

install_secret() {
  (umask 077 && echo "SHOP_APP_SECRET=$secret" > /etc/menshen/environment)
}

as_menshen() {
  runuser -u menshen -- menshen "$@" -c /etc/menshen/menshen.toml
}

main_pid() {
  systemctl show --property MainPID --value menshen
}

log_in() {
  local code
  code=$(curl -sf http://127.0.0.1:8600/_sim/login -d "{\"appid\":\"$appid\",\"user\":\"$1\"}" | cut -d'"' -f4)
  curl -sf http://127.0.0.1:8080/_auth/login -d "{\"code\":\"$code\"}" | cut -d'"' -f4
}

get() {
  curl -sf -o /dev/null -H "Authorization: Bearer $1" "http://127.0.0.1:8080/_sim/calls"
}

use() {
  token=$(log_in alice)
  get "$token"
  [ "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/_sim/calls)" = 401 ]
  # Nobody but the unit's user may look at keys and sessions, and it runs as that user.
  [ "$(stat -c '%U %a' /var/lib/menshen)" = "menshen 700" ]
  [ "$(stat -c %U /proc/"$(main_pid)")" = menshen ]
  as_menshen keys list | grep -q signs
  ! runuser -u nobody -- ls /var/lib/menshen 2> /dev/null
  ! grep -q "$secret" /proc/"$(main_pid)"/environ
  passed use
}

reload() {
  systemctl reload menshen
  eventually sh -c 'journalctl --no-pager -u menshen | grep -q "was reloaded"'
  ! journalctl --no-pager -u menshen | grep -E 'core dump|Permission denied|EPERM' || fail "something is forbidden that is needed"
  passed reload
}

# Asks until told to stop, on a connection for each request and on one that is kept, and writes down what was not answered.
load() {
  local served=0
  while [ ! -e /tmp/over ]; do
    get "$token" || echo "a request" >> /tmp/lost
    curl -sf -o /dev/null -H "Authorization: Bearer $token" "http://127.0.0.1:8080/_sim/calls?[1-20]" || echo "one of twenty" >> /tmp/lost
    get "$(log_in "user-$1-$served")" || echo "a login" >> /tmp/lost
    served=$((served + 22))
    echo $served > /tmp/served."$1"
  done
}

upgrade() {
  local before after
  before=$(main_pid)
  load 1 & load 2 &
  eventually test -e /tmp/served.1 -a -e /tmp/served.2
  dpkg -i /accept/second.deb
  after=$(main_pid)
  [ "$before" != "$after" ] || fail "the program that runs is the old one"
  eventually test ! -e /proc/"$before"
  sleep 1
  touch /tmp/over
  wait
  [ ! -e /tmp/lost ] || fail "lost: $(sort /tmp/lost | uniq -c)"
  [ "$(readlink /proc/"$after"/exe)" = /usr/bin/menshen ]
  [ "$(systemctl is-active menshen)" = active ]
  [ "$(systemctl show --property NRestarts --value menshen)" = 0 ]
  [ "$(main_pid)" = "$after" ]
  echo "served: $(cat /tmp/served.1 /tmp/served.2 | paste -sd+ | sed 's/$//')"
  passed upgrade
}

restart() {
  # By hand the program is replaced as the package does it.
  local before
  before=$(main_pid)
  systemctl kill --kill-whom=main -s USR2 menshen
  eventually test ! -e /proc/"$before"
  [ "$(systemctl is-active menshen)" = active ]
  get "$token"
  # What was stored is there, and a program that is killed comes back.
  systemctl restart menshen
  get "$token"
  before=$(main_pid)
  kill -KILL "$before"
  eventually sh -c "curl -sf http://127.0.0.1:9090/readyz"
  [ "$(main_pid)" != "$before" ]
  get "$token"
  passed restart
}

back_up() {
  as_menshen backup /var/lib/menshen/backup
  systemctl stop menshen
  rm -r /var/lib/menshen/keys /var/lib/menshen/data
  as_menshen restore /var/lib/menshen/backup
  systemctl start menshen
  get "$token"
  passed back_up
}

remove() {
  dpkg -r menshen
  ! curl -s http://127.0.0.1:8080/ || fail "something still listens"
  [ ! -e /usr/bin/menshen ]
  [ -d /var/lib/menshen/keys ] && [ -e /etc/menshen/menshen.toml ]
  dpkg -i /accept/second.deb
  systemctl enable --now menshen
  get "$token"
  passed remove
}

purge() {
  dpkg -P menshen
  [ ! -e /var/lib/menshen ] && [ ! -e /etc/menshen ]
  ! getent passwd menshen
  ! find / -xdev -path /accept -prune -o -path /results -prune -o -path /proc -prune -o -name '*menshen*' -print \
    | grep -vE '^/(tmp|var/log|run/log|var/lib/dpkg|var/lib/systemd)/' | grep . || fail "something is left"
  passed purge
}

main
