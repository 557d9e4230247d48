//! A SentencePiece model as its own file, and as a `tokenizer.json`, in the form that `transformers` converts to. What has no counterpart there
//! (spaces after words, a table of characters applied to longest matches) comes as near as it can.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::model::{Algorithm, Model, Piece, PieceKind};
use super::normalizer::SPACE;
use crate::base64;

/// A `.model` file, as SentencePiece's library reads it.
pub(crate) fn to_protobuf(model: &Model) -> Vec<u8> {
    let mut file = Message::default();
    for piece in &model.pieces {
        let mut message = Message::default();
        message.bytes(1, piece.text.as_bytes());
        message.float(2, piece.score);
        message.integer(3, piece.kind as u64);
        file.bytes(1, &message.0);
    }
    let mut trainer = Message::default();
    trainer.integer(
        3,
        match model.algorithm {
            Algorithm::Unigram => 1,
            Algorithm::Bpe => 2,
        },
    );
    trainer.integer(4, model.pieces.len() as u64);
    trainer.integer(24, model.whitespace_as_suffix.into());
    trainer.integer(35, model.byte_fallback.into());
    // Ids that are not there are -1, in two's complement.
    let absent = u64::MAX;
    trainer.integer(40, unknown(&model.pieces).map_or(absent, |id| id as u64));
    trainer.integer(41, model.begins_with.map_or(absent, u64::from));
    let end = model.pieces.iter().position(|piece| piece.kind == PieceKind::Control && piece.text == "</s>");
    trainer.integer(42, end.map_or(absent, |id| id as u64));
    trainer.integer(43, model.padding.map_or(absent, u64::from));
    trainer.bytes(44, model.unknown_surface.as_bytes());
    file.bytes(2, &trainer.0);
    let mut normalizer = Message::default();
    normalizer.bytes(1, if model.character_map.is_empty() { b"identity" } else { b"user_defined" });
    normalizer.bytes(2, &model.character_map);
    normalizer.integer(3, model.add_dummy_prefix.into());
    normalizer.integer(4, model.remove_extra_whitespaces.into());
    normalizer.integer(5, 1);
    file.bytes(3, &normalizer.0);
    file.0
}

/// A message of a protocol buffer, as it is written (protobuf.dev, "Encoding").
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }
}

/// The `tokenizer.json`.
pub(crate) fn to_json(model: &Model) -> String {
    let mut normalizers = Vec::new();
    if !model.character_map.is_empty() {
        normalizers.push(json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(&model.character_map)}));
    }
    if model.remove_extra_whitespaces {
        normalizers.push(replace(json!({"Regex": "^ +| +$"}), ""));
        normalizers.push(replace(json!({"Regex": " {2,}"}), " "));
    }
    if model.add_dummy_prefix {
        normalizers.push(json!({"type": "Prepend", "prepend": SPACE}));
    }
    normalizers.push(replace(json!({"String": " "}), SPACE));
    let mut decoders =
        vec![replace(json!({"String": SPACE}), " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
    if model.add_dummy_prefix || model.remove_extra_whitespaces {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens(&model.pieces),
        "normalizer": {"type": "Sequence", "normalizers": normalizers}, "pre_tokenizer": null,
        "post_processor": post_processor(model), "decoder": {"type": "Sequence", "decoders": decoders},
        "model": match model.algorithm {
            Algorithm::Bpe => bpe(model),
            Algorithm::Unigram => unigram(model),
        },
    });
    format!("{file:#}\n")
}

fn replace(pattern: Value, content: &str) -> Value {
    json!({"type": "Replace", "pattern": pattern, "content": content})
}

fn added_tokens(pieces: &[Piece]) -> Vec<Value> {
    let is_added = |kind| matches!(kind, PieceKind::Control | PieceKind::Unknown | PieceKind::UserDefined);
    let added = pieces.iter().enumerate().filter(|(_, piece)| is_added(piece.kind));
    added
        .map(|(id, piece)| {
            json!({
                "id": id, "content": piece.text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": piece.kind == PieceKind::UserDefined, "special": piece.kind != PieceKind::UserDefined,
            })
        })
        .collect()
}

fn post_processor(model: &Model) -> Value {
    let mut single = vec![json!({"Sequence": {"id": "A", "type_id": 0}})];
    let mut pair = vec![single[0].clone(), json!({"Sequence": {"id": "B", "type_id": 1}})];
    let mut special = Map::new();
    for (id, first) in [(model.begins_with, true), (model.ends_with, false)] {
        let Some(id) = id else { continue };
        let Some(piece) = model.pieces.get(id as usize) else { continue };
        let token = json!({"SpecialToken": {"id": piece.text, "type_id": 0}});
        for pieces in [&mut single, &mut pair] {
            let place = if first { 0 } else { pieces.len() };
            pieces.insert(place, token.clone());
        }
        special.insert(piece.text.clone(), json!({"id": piece.text, "ids": [id], "tokens": [piece.text]}));
    }
    match special.is_empty() {
        true => Value::Null,
        false => json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}),
    }
}

fn unknown(pieces: &[Piece]) -> Option<usize> {
    pieces.iter().position(|piece| piece.kind == PieceKind::Unknown)
}

fn unigram(model: &Model) -> Value {
    let vocabulary: Vec<Value> = model.pieces.iter().map(|piece| json!([piece.text, f64::from(piece.score)])).collect();
    json!({
        "type": "Unigram", "unk_id": unknown(&model.pieces), "byte_fallback": model.byte_fallback, "vocab": vocabulary,
    })
}

/// Every way to cut a piece into two others is a merge; the pieces by their scores.
fn bpe(model: &Model) -> Value {
    let text = |piece: &&(usize, &Piece)| piece.1.kind.is_text();
    let indexed: Vec<(usize, &Piece)> = model.pieces.iter().enumerate().collect();
    let known: HashMap<&str, f32> =
        indexed.iter().filter(text).map(|(_, piece)| (&piece.text[..], piece.score)).collect();
    let mut ordered: Vec<&Piece> = indexed.iter().filter(text).map(|(_, piece)| *piece).collect();
    ordered.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut merges: Vec<[&str; 2]> = Vec::new();
    for piece in ordered.iter().filter(|piece| piece.kind != PieceKind::UserDefined) {
        let mut cuts: Vec<[&str; 2]> = piece
            .text
            .char_indices()
            .skip(1)
            .map(|(at, _)| [&piece.text[..at], &piece.text[at..]])
            .filter(|parts| parts.iter().all(|part| known.contains_key(part)))
            .collect();
        let worst = |parts: &[&str; 2]| known[parts[0]].min(known[parts[1]]);
        cuts.sort_by(|a, b| worst(b).total_cmp(&worst(a)));
        merges.extend(cuts);
    }
    let vocabulary: Map<String, Value> = indexed.iter().map(|(id, piece)| (piece.text.clone(), json!(id))).collect();
    json!({
        "type": "BPE", "dropout": null, "unk_token": unknown(&model.pieces).map(|id| &model.pieces[id].text),
        "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
        "byte_fallback": model.byte_fallback, "ignore_merges": false, "vocab": vocabulary, "merges": merges,
    })
}
