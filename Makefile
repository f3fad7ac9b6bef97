# wgpu-sft. `make` lists the targets.

# One choice of packages for all that tests run, so that the library and wgpu are compiled once for them.
TESTED = -p wgpu-sft-cli -p wgpu-sft-examples -p wgpu-sft-tests
CARGO_TEST = cargo test --release --locked $(TESTED) --test tests
# What is published on crates.io, in the order of its dependencies.
CRATES = wgpu-sft-shaders wgpu-sft wgpu-sft-cli
MODULE = target/wasm32-unknown-unknown/release/wgpu_sft_web.wasm
PORT = 8080

# Vulkan manifests of the two software drivers: Mesa's lavapipe and the SwiftShader that comes with Chromium.
LAVAPIPE = $(firstword $(wildcard /usr/share/vulkan/icd.d/lvp_icd*.json /etc/vulkan/icd.d/lvp_icd*.json))
SWIFTSHADER = $(firstword $(wildcard /usr/lib/chromium/vk_swiftshader_icd.json \
	/usr/lib/chromium-browser/vk_swiftshader_icd.json /opt/google/chrome/vk_swiftshader_icd.json))

# $(call on,MANIFEST) runs what follows on that driver alone; loaders before 1.3.207 know the second name only.
on = $(or $(and $(1),VK_DRIVER_FILES=$(1) VK_ICD_FILENAMES=$(1)),$(error its Vulkan driver is missing: make test-deps))

# $(call some,FILTER) fails if no test has that name: a run of nothing must not look like success.
some = $(CARGO_TEST) -- --list $(1) | grep -q ': test$$' || { echo 'no test is named $(1)'; exit 1; }

# npm's own record of what it has installed is newer than the lock file.
NPM = web/node_modules/.package-lock.json
NPM_TESTS = tests/browser/node_modules/.package-lock.json

.PHONY: help deps build examples tested demo demo-smollm2 base-model test test-deps lint check-targets doc package dist test-native test-kills \
	test-swiftshader web-deps web serve test-browser bench-browser smollm2-browser test-smollm2 fmt fuzz clean-cache

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what building and running need (Debian-like systems)
	@scripts/deps.sh build

build: ## build the wgpu-sft binary: target/release/wgpu-sft
	cargo build --release --locked -p wgpu-sft-cli

examples: ## build the programs that train on a device of their own: target/release/embed_compute, embed_winit
	cargo build --release --locked -p wgpu-sft-examples

tested: # what the tests run, as they are built
	cargo build --release --locked $(TESTED)

demo: deps build ## teach the small base model in base/ to answer, and compare before and after (a minute)
	@demo/run.sh

demo-smollm2: deps build ## tune SmolLM2-135M on demo/train.jsonl and compare before and after (10 minutes without a GPU)
	@demo/smollm2.sh

base-model: ## make the base model in base/ again: its corpus, its tokenizer, its training (half an hour without a GPU)
	cargo build --release --locked -p wgpu-sft-cli -p wgpu-sft-base
	@base/train.sh

test: ## every check but the real model's; installs what it needs
	@for stage in test-deps lint check-targets doc package test-native test-swiftshader test-browser; do \
		start=$$(date +%s); \
		echo "== $$stage"; \
		$(MAKE) --no-print-directory $$stage || exit 1; \
		echo "== $$stage: $$(( $$(date +%s) - start )) s"; \
	done

test-deps: deps web-deps $(NPM_TESTS) ## install what the tests need
	@scripts/deps.sh test

web-deps: deps ## install what building the page needs besides
	@scripts/deps.sh web
	@$(MAKE) --no-print-directory $(NPM)

$(NPM) $(NPM_TESTS): %/node_modules/.package-lock.json: %/package-lock.json
	cd $* && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

lint: ## rustfmt and clippy, natively and for wasm
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	cargo clippy --release --locked -p wgpu-sft-web --target wasm32-unknown-unknown -- -D warnings

# No C compiler of theirs is at hand: a stand-in keeps build scripts content, and nothing is linked.
NO_CC = $(CURDIR)/scripts/no-cc.sh
check-targets: export CC_x86_64_pc_windows_msvc = $(NO_CC)
check-targets: export CC_MASM_ASM_x86_64_pc_windows_msvc = $(NO_CC)
check-targets: export AR_x86_64_pc_windows_msvc = $(NO_CC)
check-targets: export CC_aarch64_apple_darwin = $(NO_CC)
check-targets: export AR_aarch64_apple_darwin = $(NO_CC)
check-targets: export SDKROOT = /
check-targets: ## clippy for Windows and macOS, tests included, and for the library in browsers; nothing is linked
	cargo clippy --release --locked --workspace --exclude wgpu-sft-bindgen --exclude wgpu-sft-examples --all-targets \
		--target x86_64-pc-windows-msvc --target aarch64-apple-darwin -- -D warnings
	cargo clippy --release --locked -p wgpu-sft --no-default-features --features web --target wasm32-unknown-unknown -- -D warnings

# With the packages that lint and the tests choose, so that what is compiled for these serves here.
doc: ## documentation without warnings, and its examples: target/doc/wgpu_sft
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps
	RUSTDOCFLAGS="-D warnings" cargo test --release --locked --doc -p wgpu-sft $(TESTED)

package: ## pack what crates.io gets: target/package; VERIFY=1 builds it from there
	cargo package --locked --allow-dirty $(if $(VERIFY),,--no-verify --offline) $(addprefix -p ,$(CRATES))

dist: ## a release's archive for this system, tried: target/dist
	@scripts/dist.sh

test-native: tested ## all tests on lavapipe; they run the binary too
	$(call on,$(LAVAPIPE)) $(CARGO_TEST) -- --skip smollm2::

test-kills: tested ## kill runs at 200 random instants and compare what they resume to (several minutes)
	@$(call some,random_instants)
	$(call on,$(LAVAPIPE)) WGPU_SFT_TEST_KILLS=200 $(CARGO_TEST) -- random_instants --nocapture

test-swiftshader: ## the kernel cases on SwiftShader's Vulkan driver, as they run where nothing is said
	@$(call some,unchecked)
	$(call on,$(SWIFTSHADER)) $(CARGO_TEST) -- unchecked

web: web-deps ## build the page and the npm package: target/web/page, target/web/package
	cargo build --release --locked -p wgpu-sft-web --target wasm32-unknown-unknown
	cargo run --release --locked -p wgpu-sft-bindgen -- $(MODULE) target/web
	cd web && npm run --silent build

serve: web ## build the page and serve it on this machine: http://127.0.0.1:8080/
	@node scripts/serve.mjs target/web/page $(PORT)

test-browser: tested web $(NPM_TESTS) ## the page and the npm package by clicking, training against native runs, and the kernel cases, in headless Chromium
	$(call on,$(SWIFTSHADER)) node tests/browser/run.mjs

bench-browser: tested web $(NPM_TESTS) ## training in headless Chromium: a step against the native one, 1,000 steps, the demo
	$(call on,$(SWIFTSHADER)) node tests/browser/bench.mjs

smollm2-browser: web $(NPM_TESTS) ## LoRA steps of SmolLM2-135M in headless Chromium (downloads 93 MB once)
	model=$$(scripts/fetch-smollm2.sh) && node tests/browser/smollm2.mjs "$$model"

test-smollm2: ## the real model against its reference numbers (downloads 93 MB once)
	@$(call some,smollm2::)
	model=$$(scripts/fetch-smollm2.sh) && $(call on,$(LAVAPIPE)) WGPU_SFT_SMOLLM2="$$model" $(CARGO_TEST) -- smollm2::

fuzz: ## fuzz every parser for FUZZ_SECONDS (600) each; needs a nightly toolchain and cargo-fuzz
	@scripts/fuzz.sh

fmt: ## format the Rust sources
	cargo fmt --all

clean-cache: ## remove the downloaded model
	@scripts/fetch-smollm2.sh --remove
