//! Chat templates that would take all time or all memory.

use super::{fuzzed::counting, refused};
use serde_json::json;
use wgpu_sft::data::{ChatTemplate, RenderOptions, TokenizerConfig};

#[test]
fn what_grows_is_refused() {
    let ways = [
        // Doubled in a variable, in a loop.
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x*1 ~ ns.x*1 %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = 1*ns.x~1*ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = '%s%s' | format(ns.x, ns.x) %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x | replace('a', 'aa') %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}",
        // In the arguments of a macro, in loops in loops, in `with`.
        "{% macro f(a, n) %}{% if n %}{{ f(a ~ a, n - 1) }}{% endif %}{% endmacro %}{{ f('aaaaaaaa', 60) }}",
        &("{% for a in ['aaaaaaaa'] %}".to_owned() + &"{% for a in [a ~ a] %}".repeat(60) + &"{% endfor %}".repeat(61)),
        &("{% set a = 'aaaaaaaa' %}".to_owned() + &"{% with a = a ~ a %}".repeat(60) + &"{% endwith %}".repeat(60)),
        // In one step.
        "{{ 'a' | indent(1000000000000, true) }}",
        "{{ range(100000) | join('a' * 1000000) }}",
        "{{ ('a' * 1000000).join(range(100000)) }}",
        "{{ ('a' * 1000000) | replace('a', 'a' * 1000000) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ [1] | batch(100000000000, 0) }}",
        "{{ [1] | slice(100000000000) }}",
        // Printed.
        "{% for i in range(100000) %}{% for j in range(100000) %}{{ 'a' * 1000 }}{% endfor %}{% endfor %}",
        "{% for i in range(100000) %}{% for j in range(100000) %}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{% endfor %}{% endfor %}",
    ];
    for source in ways {
        let ((), peak) = counting::peak(|| refused("template", source, &["chat template: "]));
        assert!(peak < 400 << 20, "{peak} bytes: {source}");
    }
}

#[test]
fn what_has_no_end_is_refused() {
    for (source, words) in [
        (
            "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
            "fuel",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        (
            "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}",
            "deep in each other",
        ),
        ("{% set __most_bytes = 1000000000000 %}", "not free"),
        ("{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns }}", "namespace"),
        (
            "{% set ns = namespace(x=1) %}{% set ns.x = [ns] %}{{ ns }}",
            "namespace",
        ),
        (
            "{% set ns = namespace(x=1) %}{% for i in range(9000) %}{% set ns.x = namespace(x=ns.x) %}{% endfor %}",
            "namespace",
        ),
    ] {
        refused("template", source, &["chat template: ", words]);
    }
    for depth in [1000, 100_000] {
        for [open, close] in [["(", ")"], ["[", "]"], ["-", ""], ["not ", ""], ["{'a': ", "}"]] {
            let source = format!("{{{{ {}1{} }}}}", open.repeat(depth), close.repeat(depth));
            refused("template", source, &["chat template: "]);
        }
        refused("template", "{% if true %}".repeat(depth), &["chat template: "]);
    }
    // Long, and looked at once.
    for pair in ["{#", "{##}", "{%", "{{", "{", "{{''}}", "{% set a = 1 %}"] {
        let _ = super::run("template", pair, pair.repeat(50_000).as_bytes());
    }
}

#[test]
fn what_is_measured_is_not_changed() {
    for (source, want) in [
        ("{% set x = 1 + 2 * 3 %}{{ x ~ '+' ~ -x }}", "7+-7"),
        ("{%- set x, y = 1, 2 -%} {{- x + y -}} ", "3"),
        ("{% set x = {'a': {'b': [1, 2]}} %}{{ x.a.b[1:] + [3] }}", "[2, 3]"),
        ("{% set x = 'a' if false else \"%}\" ~ '=' %}{{ x }}", "%}="),
        ("{% set x %}a{% endset %}{{ x * 2 }}", "aa"),
        (
            "{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 1 %}{{ ns.a ** 2 }}",
            "4",
        ),
        (
            "{% raw %}{% set x = 1 + 1 %}{{ a ~ b }}{% endraw %}",
            "{% set x = 1 + 1 %}{{ a ~ b }}",
        ),
        ("{# {% set x = 1 %} {{ 1 + 1 }} #}{{ 1.5e+1 + 1 }}", "16.0"),
        (
            "{% macro f(a, b=1 + 1) %}{{ a + b }}{% endmacro %}{{ f(1) }}{{ f(1, *[1 + 2]) }}",
            "34",
        ),
        ("{% if 1 + 1 == 2 and not '' ~ '' %}yes{% endif +%}\nx", "yes\nx"),
        (
            "{{ undefined_thing ~ 'a' }}{{ [1, 2] | join('+') }}{{ 'a*b' | replace('*', '+') }}",
            "a1+2a+b",
        ),
        (
            "{{ 'a\nb' | indent(2) }}{{ '%-4s|' | format('x') }}{{ ', '.join(['a', 'b']) }}",
            "a\n  bx   |a, b",
        ),
    ] {
        let template = ChatTemplate::new(source, &TokenizerConfig::default(), None).expect(source);
        let rendered = template.render(&[], &RenderOptions::default()).expect(source);
        assert_eq!(rendered.text, want, "{source}");
    }
}

#[test]
fn what_is_long_or_deep_in_earnest_is_not_refused() {
    let rendered = |source: &str, content: &str| {
        let template = ChatTemplate::new(source, &TokenizerConfig::default(), None).expect("a template");
        let rendered = template.render(
            &[json!({"role": "user", "content": content})],
            &RenderOptions::default(),
        );
        rendered.expect("a rendering").text
    };
    // Languages by their codes, as templates of translators have them.
    let entries: Vec<String> = (0..700).map(|i| format!("\"l{i}\": \"Language {i}\"")).collect();
    let source = format!(
        "{{%- set languages = {{{}}} -%}}{{{{ languages.l699 }}}}",
        entries.join(", ")
    );
    assert_eq!(rendered(&source, ""), "Language 699");
    // A tool's parameters in parameters.
    let source = "{%- macro walk(n) -%}{%- for _ in [1] -%}{%- if n -%}({{ walk(n - 1) }}){%- endif -%}{%- endfor -%}{%- endmacro -%}{{ walk(20) }}";
    assert_eq!(rendered(source, ""), "(".repeat(20) + &")".repeat(20));
    // A licence above, a long conversation below.
    let source = format!(
        "{{#- {} -#}}{{%- for i in range(20000) -%}}{{{{ messages[0].content }}}}{{%- endfor -%}}",
        "licence ".repeat(1500)
    );
    assert_eq!(rendered(&source, "a"), "a".repeat(20_000));
}
