//! Pieces of a page. Text gets into one only through [`Html::text`] or an attribute, which escape it: no sample and no plugin writes markup.

use std::fmt::Write as _;

use crate::terminal::plain;

/// Markup that is whole: every text in it is escaped and every element is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Html(String);

impl Html {
    /// Markup that stands in the program.
    pub(crate) fn fixed(markup: &'static str) -> Self {
        Self(markup.to_owned())
    }

    /// Any text, shown as it is, with what is invisible or reorders text made visible.
    pub(crate) fn text(text: &str) -> Self {
        Self(escaped(text))
    }

    /// An element with attributes and content.
    pub(crate) fn element(
        name: &'static str,
        attributes: &[(&'static str, &str)],
        content: impl IntoIterator<Item = Html>,
    ) -> Self {
        let mut markup = format!("<{name}");
        for (attribute, value) in attributes {
            let _ = write!(markup, " {attribute}=\"{}\"", escaped(value));
        }
        markup.push('>');
        markup.extend(content.into_iter().map(|piece| piece.0));
        let _ = write!(markup, "</{name}>");
        Self(markup)
    }

    /// An element with nothing but text in it.
    pub(crate) fn of_text(name: &'static str, text: &str) -> Self {
        Self::element(name, &[], [Self::text(text)])
    }

    /// Pieces after each other.
    pub(crate) fn all(pieces: impl IntoIterator<Item = Html>) -> Self {
        Self(pieces.into_iter().map(|piece| piece.0).collect())
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The markup.
    pub(crate) fn markup(&self) -> &str {
        &self.0
    }
}

/// A table: heads, then rows of cells.
pub(crate) fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<Html>>) -> Html {
    let row =
        |cells: Vec<Html>| Html::element("tr", &[], cells.into_iter().map(|cell| Html::element("td", &[], [cell])));
    let heads = Html::element("tr", &[], heads.iter().map(|head| Html::of_text("th", head)));
    let table = Html::element("table", &[], std::iter::once(heads).chain(rows.into_iter().map(row)));
    Html::element("div", &[("class", "wide")], [table])
}

/// A number as short as it can be read: four digits, or an exponent.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e7).contains(&size) {
        return format!("{value:.2e}");
    }
    let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in plain(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let text = Html::text("</script><img src=x onerror='a()'>&amp;\u{202e}\0");
        let expected = "&lt;/script&gt;&lt;img src=x onerror=&#39;a()&#39;&gt;&amp;amp;\\u{202e}\\u{0}";
        assert_eq!(text.markup(), expected);
        let link = Html::element("i", &[("title", "\"><b>")], [Html::text("a<b")]);
        assert_eq!(link.markup(), "<i title=\"&quot;&gt;&lt;b&gt;\">a&lt;b</i>");
    }

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> =
            [0.0, 1.0, 2.5, 1234.5678, 0.012_346, 1e-5, -3e9, 999_999.0].into_iter().map(number).collect();
        assert_eq!(shown, ["0", "1", "2.5", "1235", "0.01235", "1.00e-5", "-3.00e9", "999999"]);
    }
}
