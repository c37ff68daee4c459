//! The texts of a micro-batch and where its tokens stand in them, worked out when a plugin asks.

use std::sync::{Arc, Mutex, PoisonError};

use tunesmith_core::data::{RowText, RowTexts};
use tunesmith_core::error::ServiceError;

use super::{Encoder, MicroBatch};

/// The texts of a micro-batch. Each row is tokenised once more, with offsets, at the first call.
pub struct MicroBatchTexts {
    encoder: Arc<Encoder>,
    micro: Arc<MicroBatch>,
    known: Mutex<Option<Arc<Vec<RowText>>>>,
}

impl MicroBatchTexts {
    /// Of this micro-batch.
    pub fn new(encoder: Arc<Encoder>, micro: Arc<MicroBatch>) -> Self {
        Self { encoder, micro, known: Mutex::default() }
    }
}

impl RowTexts for MicroBatchTexts {
    fn row_texts(&self) -> Result<Arc<Vec<RowText>>, ServiceError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(texts) = &*known {
            return Ok(Arc::clone(texts));
        }
        let text = |row: &super::EncodedRow| {
            let failed = |why: String| ServiceError::Unsupported(format!("row {}: {why}", row.example.id));
            let source = row.source.as_ref().ok_or_else(|| failed("the text behind its tokens is not known".into()))?;
            self.encoder.row_text(source, &row.tokens).map_err(|error| failed(error.to_string()))
        };
        let texts = Arc::new(self.micro.rows.iter().map(|row| text(row)).collect::<Result<Vec<_>, _>>()?);
        *known = Some(Arc::clone(&texts));
        Ok(texts)
    }
}
