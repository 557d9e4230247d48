//! The tensors that a file of a spec will have, as far as its metadata are read with them: to read what is to be written.

use super::config::Tensors;
use crate::DecoderSpec;

/// Names, shapes and, of tables, numbers.
pub struct Promised(Vec<(&'static str, Vec<usize>, Vec<f32>)>);

impl Promised {
    pub fn of(spec: &DecoderSpec, tables: Vec<(&'static str, Vec<f32>)>) -> Self {
        let (vocabulary, width) = (spec.vocabulary, spec.width);
        let optional = [
            ("token_embd.weight", true, vec![vocabulary, width]),
            ("output.weight", !spec.tied, vec![vocabulary, width]),
            ("blk.0.attn_q.bias", spec.qkv_bias, vec![spec.heads * spec.head_width]),
            ("blk.0.attn_output.bias", spec.output_bias, vec![width]),
            ("blk.0.ffn_up.bias", spec.feed_forward_bias, vec![spec.feed_forward_width]),
            ("blk.0.ffn_norm.weight", !spec.parallel, vec![width]),
        ];
        let there =
            optional.into_iter().filter(|(_, there, _)| *there).map(|(name, _, shape)| (name, shape, Vec::new()));
        let tables = tables.into_iter().map(|(name, numbers)| (name, vec![numbers.len()], numbers));
        Self(there.chain(tables).collect())
    }
}

impl Tensors for Promised {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.0.iter().find(|tensor| tensor.0 == name).map(|tensor| &tensor.1[..])
    }

    fn numbers(&self, name: &str) -> Option<Result<Vec<f32>, String>> {
        self.0.iter().find(|tensor| tensor.0 == name).map(|tensor| Ok(tensor.2.clone()))
    }
}
