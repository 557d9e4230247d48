//! Which element type each tensor of a quantized file gets: the mixes that llama.cpp's files are named by
//! (ggml-org/llama.cpp, `src/llama-quant.cpp`, `llama_tensor_get_type`). Tensors that errors do most harm in get more bits.

use tsumugi_files::ElementType;
use tsumugi_models::{DecoderSpec, EncoderSpec};

use ElementType as E;

/// What a file is called by: the type of most of its matrices, and how generous it is with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Its name, as in the names of files.
    pub name: &'static str,
    /// `general.file_type` (llama.h, `enum llama_ftype`).
    pub number: u32,
    /// The type of most matrices.
    pub most: ElementType,
    level: Level,
}

/// How many tensors get more bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Only the head, or none.
    Plain,
    Small,
    Medium,
    Large,
}

/// Every mix.
pub const ALL: &[Mix] = &[
    mix("F32", 0, E::F32, Level::Plain),
    mix("F16", 1, E::F16, Level::Plain),
    mix("BF16", 32, E::BF16, Level::Plain),
    mix("Q8_0", 7, E::Q8_0, Level::Plain),
    mix("Q6_K", 18, E::Q6_K, Level::Plain),
    mix("Q5_K_M", 17, E::Q5_K, Level::Medium),
    mix("Q5_K_S", 16, E::Q5_K, Level::Small),
    mix("Q5_1", 9, E::Q5_1, Level::Plain),
    mix("Q5_0", 8, E::Q5_0, Level::Plain),
    mix("Q4_K_M", 15, E::Q4_K, Level::Medium),
    mix("Q4_K_S", 14, E::Q4_K, Level::Small),
    mix("Q4_1", 3, E::Q4_1, Level::Plain),
    mix("Q4_0", 2, E::Q4_0, Level::Plain),
    mix("Q3_K_L", 13, E::Q3_K, Level::Large),
    mix("Q3_K_M", 12, E::Q3_K, Level::Medium),
    mix("Q3_K_S", 11, E::Q3_K, Level::Small),
    mix("Q2_K", 10, E::Q2_K, Level::Plain),
];

const fn mix(name: &'static str, number: u32, most: ElementType, level: Level) -> Mix {
    Mix { name, number, most, level }
}

/// The mix of that name, in letters of any case.
pub fn find(name: &str) -> Option<&'static Mix> {
    ALL.iter().find(|mix| mix.name.eq_ignore_ascii_case(name))
}

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Head,
    Keys,
    Values,
    AttentionOutput,
    Down,
    Other,
}

/// Parts of names and roles; the first that is in a name counts.
const ROLES: [(&str, Role); 5] = [
    ("attn_qkv.weight", Role::Values),
    ("attn_k.weight", Role::Keys),
    ("attn_v.weight", Role::Values),
    ("attn_output.weight", Role::AttentionOutput),
    ("ffn_down", Role::Down),
];

/// Parts of names of matrices that stay as they are.
const KEPT: [&str; 4] = ["_norm.weight", "ffn_gate_inp.weight", "position_embd.weight", "token_types.weight"];

/// The type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// What it becomes.
    pub element_type: ElementType,
    /// What it would have become if its rows were a whole number of blocks of that.
    pub wanted: ElementType,
}

/// What of a model the types of its tensors depend on.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    family: &'static str,
    layers: usize,
    /// Query heads that share a head of keys.
    queries_per_key: usize,
    experts: Option<usize>,
    /// Whether there is no head but the embedding.
    tied: bool,
}

impl From<&DecoderSpec> for Traits {
    fn from(spec: &DecoderSpec) -> Self {
        Self {
            family: spec.family,
            layers: spec.layers,
            queries_per_key: spec.heads / spec.key_heads.max(1),
            experts: spec.experts.map(|experts| experts.count),
            tied: spec.tied,
        }
    }
}

impl From<&EncoderSpec> for Traits {
    fn from(spec: &EncoderSpec) -> Self {
        Self { family: spec.family, layers: spec.layers, queries_per_key: 1, experts: None, tied: true }
    }
}

impl Mix {
    /// The type of a tensor of a file.
    pub fn choose(&self, name: &str, shape: &[usize], model: Traits) -> Choice {
        let rows: usize = shape.iter().rev().skip(1).product();
        let kept = rows < 2 || !name.ends_with("weight") || KEPT.iter().any(|part| name.contains(part));
        if kept {
            return Choice { element_type: E::F32, wanted: E::F32 };
        }
        if !self.most.is_quantized() {
            return Choice { element_type: self.most, wanted: self.most };
        }
        let columns = shape.last().map_or(0, |&columns| columns as u64);
        let wanted = self.wanted(name, columns, model);
        Choice { element_type: fitting(wanted, columns), wanted }
    }

    fn wanted(&self, name: &str, columns: u64, model: Traits) -> ElementType {
        let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok()).unwrap_or(0);
        match role(name, model.tied) {
            Role::Head if is_falcon(model) || !columns.is_multiple_of(self.most.block_elements()) => E::Q8_0,
            Role::Head if self.most == E::Q8_0 => E::Q8_0,
            Role::Head => E::Q6_K,
            // Beside so many experts they are small.
            Role::Keys | Role::Values if has_eight_experts(model) => E::Q8_0,
            Role::Values => self.of_values(layer, model),
            Role::AttentionOutput => self.of_attention_output(model),
            Role::Down if is_falcon(model) => self.of_falcons_down(layer, model.layers),
            Role::Down => self.of_down(layer, model.layers),
            Role::Keys | Role::Other => self.most,
        }
    }

    fn of_attention_output(&self, model: Traits) -> ElementType {
        match (self.most, self.level) {
            (E::Q3_K, Level::Large) if is_falcon(model) => E::Q4_K,
            _ if is_falcon(model) => self.most,
            (E::Q3_K, Level::Large) if has_eight_experts(model) => self.most,
            (E::Q2_K | E::Q3_K | E::Q4_K, _) if has_eight_experts(model) => E::Q5_K,
            (E::Q2_K, _) => E::Q3_K,
            (E::Q3_K, Level::Medium) => E::Q4_K,
            (E::Q3_K, Level::Large) => E::Q5_K,
            _ => self.most,
        }
    }

    fn of_values(&self, layer: usize, model: Traits) -> ElementType {
        let wanted = match (self.most, self.level) {
            (E::Q2_K, _) if model.queries_per_key >= 4 => E::Q4_K,
            (E::Q2_K, _) => E::Q3_K,
            (E::Q3_K, Level::Medium) if layer < 2 => E::Q5_K,
            (E::Q3_K, Level::Medium) => E::Q4_K,
            (E::Q3_K, Level::Large) => E::Q5_K,
            (E::Q4_K | E::Q5_K, Level::Medium) if has_more_bits(layer, model.layers) => E::Q6_K,
            (E::Q4_K, Level::Small) if layer < 4 => E::Q5_K,
            _ => self.most,
        };
        // In models of 70 billion parameters eight queries share values, so that these are small.
        let is_70b =
            model.layers == 80 && model.queries_per_key > 1 && ["llama", "mistral", "qwen2"].contains(&model.family);
        if is_70b && [E::Q3_K, E::Q4_K].contains(&wanted) { E::Q5_K } else { wanted }
    }

    fn of_falcons_down(&self, layer: usize, layers: usize) -> ElementType {
        let (first, more) = (layer < layers / 16, has_more_bits(layer, layers));
        match (self.most, self.level) {
            (E::Q3_K, Level::Medium) if !first && !more => E::Q3_K,
            (E::Q3_K, Level::Large) => E::Q4_K,
            (E::Q4_K, Level::Medium) if first => E::Q6_K,
            (E::Q4_K, Level::Medium) if more => E::Q5_K,
            (E::Q4_K, _) => E::Q4_K,
            _ => self.of_down(layer, layers),
        }
    }

    fn of_down(&self, layer: usize, layers: usize) -> ElementType {
        match (self.most, self.level) {
            (E::Q2_K, _) => E::Q3_K,
            (E::Q3_K, Level::Medium) if layer < layers / 16 => E::Q5_K,
            (E::Q3_K, Level::Medium) => E::Q4_K,
            (E::Q3_K, Level::Large) => E::Q5_K,
            (E::Q4_K | E::Q5_K, Level::Medium) if has_more_bits(layer, layers) => E::Q6_K,
            (E::Q4_K, Level::Small) if layer < layers / 8 => E::Q5_K,
            _ => self.most,
        }
    }
}

fn is_falcon(model: Traits) -> bool {
    model.family == "falcon"
}

fn has_eight_experts(model: Traits) -> bool {
    model.experts == Some(8)
}

fn role(name: &str, tied: bool) -> Role {
    if name == "output.weight" || tied && name == "token_embd.weight" {
        return Role::Head;
    }
    ROLES.iter().find(|(part, _)| name.contains(part)).map_or(Role::Other, |(_, role)| *role)
}

/// The first and the last eighth of the layers, and every third between.
fn has_more_bits(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// Where rows are no whole number of blocks, a type of smaller blocks and no fewer bits.
fn fitting(wanted: ElementType, columns: u64) -> ElementType {
    let fits = |element_type: ElementType| columns.is_multiple_of(element_type.block_elements());
    let smaller = match wanted {
        E::Q2_K | E::Q3_K => E::Q4_0,
        E::Q4_K => E::Q5_0,
        E::Q5_K => E::Q5_1,
        E::Q6_K => E::Q8_0,
        other => other,
    };
    [wanted, smaller].into_iter().find(|&element_type| fits(element_type)).unwrap_or(E::F16)
}
