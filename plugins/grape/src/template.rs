//! Texts with places to fill in. `plugins/cft` and `plugins/aft` compile this same file.

/// The template with every mark replaced by its text, in one pass: marks inside the texts stay as they are.
pub fn fill(template: &str, texts: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len() + texts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = texts.iter().find(|(mark, _)| rest.starts_with(mark));
        let (text, len) = found.map_or(("{", 1), |(mark, text)| (text, mark.len()));
        filled.push_str(text);
        rest = &rest[len..];
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_in_one_pass() {
        let texts = [("{prompt}", "{solution}"), ("{solution}", "{prompt}")];
        assert_eq!(fill("Q {prompt} A {solution}.", &texts), "Q {solution} A {prompt}.");
        assert_eq!(fill("{{prompt}} {other} {", &[("{prompt}", "p")]), "{p} {other} {");
        assert_eq!(fill("", &texts), "");
    }
}
