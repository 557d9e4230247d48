//! The type of every tensor, as llama.cpp chose it (`fixtures/README.md`).

use std::collections::BTreeMap;
use std::path::Path;

use tsumugi_compress::mix;
use tsumugi_files::ElementType;
use tsumugi_models::falcon::Falcon;
use tsumugi_models::llama::Llama;
use tsumugi_models::mixtral::Mixtral;
use tsumugi_models::slots::{Layout, by_tensor, slots};
use tsumugi_models::spec::Experts;
use tsumugi_models::{Decoder, DecoderSpec, Family, gguf::architecture_of};

/// Matrices of a mix, in the order of our names, as runs: `3 Q4_K, Q6_K`.
fn runs(types: impl Iterator<Item = String>) -> String {
    let mut runs: Vec<(usize, String)> = Vec::new();
    for name in types {
        match runs.last_mut() {
            Some((count, last)) if *last == name => *count += 1,
            _ => runs.push((1, name)),
        }
    }
    runs.into_iter().map(|(count, name)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

/// The models of the fixtures: experts, Falcon; rows of whole blocks of 256 and not, heads that share values and not, tied heads and not.
fn specs() -> Vec<(&'static str, DecoderSpec)> {
    let llama = |width, layers, heads, key_heads, tied| DecoderSpec {
        feed_forward_width: 2 * width,
        tied,
        ..Llama::sized(64, 32, width, layers, heads, key_heads)
    };
    let as_wide = |layers, key_heads, spec| DecoderSpec {
        vocabulary: 64,
        width: 256,
        layers,
        heads: 8,
        key_heads,
        head_width: 32,
        feed_forward_width: 512,
        tied: false,
        ..spec
    };
    let experts = Mixtral.tiny().experts.map(|experts| Experts { count: 8, ..experts });
    vec![
        ("eight-experts", DecoderSpec { experts, ..as_wide(18, 2, Mixtral.tiny()) }),
        ("falcon", as_wide(34, 1, Falcon.tiny())),
        ("blocks-of-256", llama(256, 18, 8, 2, false)),
        ("blocks-of-256-tied", llama(256, 9, 4, 4, true)),
        ("blocks-of-32", llama(96, 17, 4, 1, true)),
        ("no-blocks", llama(40, 3, 4, 2, false)),
    ]
}

#[test]
fn every_tensor_has_the_type_that_llama_cpp_gives_it() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/mixes.json");
    let golden: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for (model, spec) in specs() {
        let decoder = Decoder::described(spec.clone());
        let slots = slots(&decoder, Layout::Gguf(architecture_of(&spec).unwrap()));
        assert_eq!(golden[model].len(), mix::ALL.len() - 1, "{model}: all but F32");
        for (name, expected) in &golden[model] {
            let mix = mix::find(name).unwrap();
            let types = by_tensor(&slots)
                .map(|slots| mix.choose(&slots[0].tensor, &slots[0].shape, (&spec).into()).element_type);
            let matrices = types.filter(|&element_type| element_type != ElementType::F32);
            let found = runs(matrices.map(|element_type| element_type.name().to_owned()));
            assert_eq!(found, *expected, "{name} of {model}");
        }
    }
}

#[test]
fn mixes_are_found_by_their_names() {
    for mix in mix::ALL {
        assert_eq!(mix::find(&mix.name.to_lowercase()), Some(mix));
    }
    assert_eq!(mix::find("Q9_K"), None);
}
