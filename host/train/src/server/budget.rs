//! What may be asked of a server, and what was.

use std::sync::{Mutex, PoisonError};

/// Requests and tokens that may be spent.
#[derive(Debug)]
pub(super) struct Budget {
    requests: Option<u64>,
    tokens: Option<u64>,
    spent: Mutex<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    requests: u64,
    tokens: u64,
}

impl Budget {
    pub(super) fn new(requests: Option<u64>, tokens: Option<u64>) -> Self {
        Self { requests, tokens, spent: Mutex::default() }
    }

    /// Takes a request out of the budget. Tokens are counted when an answer is there, so requests that are under way may go over that limit.
    pub(super) fn take(&self) -> Result<(), String> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = [("requests", spent.requests, self.requests), ("tokens", spent.tokens, self.tokens)];
        for (what, spent, limit) in limits {
            if let Some(limit) = limit.filter(|limit| *limit <= spent) {
                return Err(format!(
                    "has used up its budget: {spent} of {limit} {what}; hint: raise `{what}` in its table of the recipe, or ask less; \
                     with a tape, what was answered is not asked again"
                ));
            }
        }
        spent.requests += 1;
        Ok(())
    }

    /// Counts the tokens of an answer.
    pub(super) fn count(&self, tokens: u64) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.tokens = spent.tokens.saturating_add(tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_with_its_requests_or_its_tokens() {
        let budget = Budget::new(Some(2), Some(10));
        assert_eq!(budget.take(), Ok(()));
        budget.count(10);
        assert!(budget.take().expect_err("no tokens are left").contains("10 of 10 tokens; hint: raise `tokens`"));
        let budget = Budget::new(Some(1), None);
        assert_eq!(budget.take(), Ok(()));
        assert!(budget.take().expect_err("no request is left").contains("1 of 1 requests"));
        let free = Budget::new(None, None);
        free.count(u64::MAX);
        free.count(1);
        assert_eq!(free.take(), Ok(()));
    }
}
