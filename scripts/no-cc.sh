#!/bin/sh
# Stands in for another system's C compiler, assembler and archiver where Rust is only type-checked: nothing of what they make is
# linked. Archives are made, empty, as build scripts look for them.
for word in "$@"; do
    case $word in
        [-/][oO][uU][tT]:*) : >"${word#*:}" ;;
        *.a) : >"$word" ;;
    esac
done
