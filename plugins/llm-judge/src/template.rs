//! Requests: a template with the parts of a case in their places.

/// What a case puts into a template, by the names of the places.
pub(crate) struct Parts<'a>(pub(crate) Vec<(&'static str, &'a str)>);

/// Whether a template has a place of this name.
pub(crate) fn has(template: &str, name: &str) -> bool {
    template.contains(&format!("{{{name}}}"))
}

impl Parts<'_> {
    /// The template with every part in its place. It is gone through once: what stands in a part is never taken for a place.
    pub(crate) fn fill(&self, template: &str) -> String {
        let mut text = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(open) = rest.find('{') {
            text.push_str(&rest[..open]);
            rest = &rest[open + 1..];
            let place = self.0.iter().find_map(|(name, part)| {
                rest.strip_prefix(name).and_then(|after| after.strip_prefix('}')).map(|after| (part, after))
            });
            match place {
                Some((part, after)) => {
                    text.push_str(part);
                    rest = after;
                }
                None => text.push('{'),
            }
        }
        text.push_str(rest);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let parts = Parts(vec![("prompt", "P"), ("answer", "{prompt} ä{"), ("rival", "")]);
        assert_eq!(parts.fill(template), expected);
    }

    #[test]
    fn parts_come_into_their_places_and_nothing_else_changes() {
        check("{prompt}: {answer}{rival}.", "P: {prompt} ä{.");
        check("{\"score\": {prompt}} {unknown} {promp} {", "{\"score\": P} {unknown} {promp} {");
        check("{{prompt}}", "{P}");
        check("", "");
        assert!(has("a {answer}", "answer") && !has("a {answer", "answer"));
    }
}
