//! Columns of text that line up, for terminals and for `grep`.

use unicode_width::UnicodeWidthStr;

use super::paint::Paint;

/// Lines up the rows' cells under `heads`; the last column is as wide as it likes.
pub fn render(heads: &[&str], rows: &[Vec<String>], paint: Paint) -> String {
    let mut widths: Vec<usize> = heads.iter().map(|h| h.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let heads: Vec<String> = heads.iter().map(|h| (*h).to_owned()).collect();
    let mut out = paint.bold(&line(&heads, &widths));
    out.push('\n');
    for row in rows {
        out.push_str(&line(row, &widths));
        out.push('\n');
    }
    out
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut out = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        out.push_str(cell);
        out.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_do_not_shift_columns() {
        let rows = vec![
            vec!["日本".to_owned(), "x".to_owned()],
            vec!["a".to_owned(), "y".to_owned()],
        ];
        assert_eq!(
            render(&["id", "is"], &rows, Paint::plain()),
            "id    is\n日本  x\na     y\n"
        );
    }
}
