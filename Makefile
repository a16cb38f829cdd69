# `make dev` starts Menshen with everything it needs in one process; `make test` runs every test.
# Both first install what this machine lacks (on Debian, as root or with sudo).

.PHONY: dev test deps test-deps

dev: deps
	cargo run --locked -- dev $(ARGS)

test: test-deps
	cargo test --locked
	node --test examples/mini-program/login.test.js

deps:
	@tests/setup.sh build

test-deps:
	@tests/setup.sh tests
