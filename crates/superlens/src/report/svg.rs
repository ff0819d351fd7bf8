//! A sheet of SVG: marks, axes and legends in the colours of `figure.css`.
//!
//! Why not a plotting crate: `plotters` writes fixed colours on each mark, so one file cannot follow the reader's light
//! or dark theme, and its text knows no `<title>` or `<desc>`. What the figures need beyond `maud` fits in this file.

use maud::{Markup, PreEscaped, Render, html};

use super::{
    scale::{Scale, Tick, drawable},
    words::clean,
};

/// Colours for both themes; every rule is scoped to `.sl-fig`, so that figures can stand inline in any page.
pub const STYLE: &str = include_str!("figure.css");

/// Width of a figure; at this width text has its natural size. Two fit side by side on a desk, one on a phone, and text
/// stays legible on both.
pub const WIDTH: f64 = 480.0;
/// Room at the left and right edge.
pub const EDGE: f64 = 16.0;
const TEXT: f64 = 13.0;
const LINE: f64 = 17.0;

/// A finished picture and the words that belong to it.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Stem of the file name: lower-case letters, digits and dashes.
    pub name: String,
    pub title: String,
    /// How to read the picture.
    pub caption: String,
    /// What this picture shows, for those who cannot see it.
    pub description: String,
    width: f64,
    height: f64,
    marks: String,
}

impl Figure {
    /// The picture as a file of its own, with its colours inside.
    pub fn standalone(&self) -> String {
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", self.element("figure", true).into_string())
    }

    /// The picture as part of a page that holds [`STYLE`]; `scope` keeps ids apart where one page shows several cases.
    pub fn inline(&self, scope: &str) -> Markup {
        self.element(scope, false)
    }

    fn element(&self, scope: &str, style: bool) -> Markup {
        let (title_id, desc_id) = (format!("{scope}-{}-title", self.name), format!("{scope}-{}-desc", self.name));
        html! {
            svg class="sl-fig" xmlns="http://www.w3.org/2000/svg" role="img"
                width=(px(self.width)) height=(px(self.height))
                viewBox={ "0 0 " (px(self.width)) " " (px(self.height)) }
                aria-labelledby={ (title_id) " " (desc_id) } {
                title id=(title_id) { (clean(&self.title)) }
                desc id=(desc_id) { (clean(&self.description)) }
                @if style { style { (PreEscaped(STYLE)) } }
                (PreEscaped(&self.marks))
            }
        }
    }
}

/// The rectangle between the axes.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

/// Where a text stands relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn id(self) -> &'static str {
        match self {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        }
    }
}

/// The sign beside a legend's text. The string is a class of `figure.css`.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    Box(&'static str),
    Line(&'static str),
    /// A point on a line: class of the line, class of the point, shape of the point.
    Series(&'static str, &'static str, Dot),
    /// An upright stroke, as for intervals.
    Bar(&'static str),
}

/// Shapes that stay apart without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dot {
    Round,
    Square,
    Diamond,
}

/// A picture in the making.
pub struct Sheet {
    width: f64,
    height: f64,
    marks: String,
}

impl Sheet {
    /// A sheet of paper with a title. A title that is too long for one line is cut.
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        let mut sheet = Self { width, height, marks: String::new() };
        sheet.push(html! { rect class="paper" width=(px(width)) height=(px(height)) rx="8" {} });
        let title = wrap(title, (width - 2.0 * EDGE) * TEXT / 16.0, 1).concat();
        sheet.text("t", Anchor::Start, EDGE, 27.0, &title);
        sheet
    }

    /// A sheet without paper or title.
    pub fn blank(width: f64, height: f64) -> Self {
        Self { width, height, marks: String::new() }
    }

    /// The marks as decoration of a page that holds [`STYLE`], hidden from those who listen to it.
    pub fn ornament(self) -> Markup {
        html! {
            svg class="sl-fig ornament" xmlns="http://www.w3.org/2000/svg" aria-hidden="true"
                viewBox={ "0 0 " (px(self.width)) " " (px(self.height)) } { (PreEscaped(self.marks)) }
        }
    }

    /// Names the picture. `title` is the accessible title; the visible one was drawn by [`Sheet::new`].
    pub fn finish(self, name: &str, title: &str, caption: String, description: String) -> Figure {
        let Self { width, height, marks } = self;
        Figure { name: name.to_owned(), title: title.to_owned(), caption, description, width, height, marks }
    }

    pub fn push(&mut self, mark: impl Render) {
        mark.render_to(&mut self.marks);
    }

    pub fn rect(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64) {
        self.push(html! { rect class=(class) x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height)) {} });
    }

    /// A bar with a tip that shows while the pointer rests on it.
    pub fn bar(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64, tip: &str) {
        self.push(html! {
            rect class=(class) x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height)) { title { (clean(tip)) } }
        });
    }

    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.push(html! { line class=(class) x1=(px(x1)) y1=(px(y1)) x2=(px(x2)) y2=(px(y2)) {} });
    }

    pub fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        if points.len() > 1 {
            let points: Vec<_> = points.iter().map(|&(x, y)| format!("{},{}", px(x), px(y))).collect();
            self.push(html! { polyline class=(class) points=(points.join(" ")) {} });
        }
    }

    /// A closed shape.
    pub fn polygon(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<_> = points.iter().map(|&(x, y)| format!("{},{}", px(x), px(y))).collect();
        self.push(html! { polygon class=(class) points=(points.join(" ")) {} });
    }

    pub fn dot(&mut self, class: &str, shape: Dot, (x, y): (f64, f64), radius: f64) {
        match shape {
            Dot::Round => self.push(html! { circle class=(class) cx=(px(x)) cy=(px(y)) r=(px(radius)) {} }),
            Dot::Square => self.rect(class, x - radius * 0.9, y - radius * 0.9, radius * 1.8, radius * 1.8),
            Dot::Diamond => {
                let r = radius * 1.25;
                self.polygon(class, &[(x, y - r), (x + r, y), (x, y + r), (x - r, y)]);
            }
        }
    }

    pub fn text(&mut self, class: &str, anchor: Anchor, x: f64, y: f64, text: &str) {
        self.push(html! {
            text class=(class) x=(px(x)) y=(px(y)) text-anchor=(anchor.id()) { (clean(text)) }
        });
    }

    /// Draws a legend under the title, on as many lines as it needs; returns where the next thing may start.
    pub fn legend(&mut self, entries: &[(Key, String)]) -> f64 {
        const SIGN: f64 = 24.0;
        let (mut x, mut y) = (EDGE, 49.0);
        for (key, text) in entries {
            let room = SIGN + text_width(text, TEXT);
            if x > EDGE && x + room > self.width - EDGE {
                (x, y) = (EDGE, y + LINE + 2.0);
            }
            self.sign(*key, x, y - 4.5);
            self.text("soft", Anchor::Start, x + SIGN, y, text);
            x += room + 18.0;
        }
        y + 6.0
    }

    fn sign(&mut self, key: Key, x: f64, y: f64) {
        match key {
            Key::Box(class) => self.rect(class, x + 2.0, y - 6.0, 15.0, 12.0),
            Key::Line(class) => self.line(class, (x, y), (x + 19.0, y)),
            Key::Bar(class) => self.line(class, (x + 9.5, y - 7.0), (x + 9.5, y + 7.0)),
            Key::Series(line, dot, shape) => {
                self.line(line, (x, y), (x + 19.0, y));
                self.dot(dot, shape, (x + 9.5, y), 4.0);
            }
        }
    }

    /// The plotting area below `top`: room for tick labels at the left, for the name of the x axis at the bottom.
    pub fn area(&self, top: f64, y: &Scale, x_name: &str) -> Area {
        self.area_beside(top, &y.ticks(), x_name)
    }

    /// The same where the labels of the y axis are not those of its scale.
    pub fn area_beside(&self, top: f64, y: &[Tick], x_name: &str) -> Area {
        let widest = y.iter().map(|t| text_width(&t.label, TEXT)).fold(0.0, f64::max);
        Area {
            left: EDGE + widest + 8.0,
            right: self.width - EDGE,
            top: top + LINE + 18.0,
            bottom: self.height - 12.0 - 22.0 - LINE * self.wrap_name(x_name).len() as f64,
        }
    }

    fn wrap_name(&self, name: &str) -> Vec<String> {
        wrap(name, self.width - 2.0 * EDGE, 2)
    }

    /// Grid lines, tick labels at the left, and the axis' name above them.
    pub fn y_axis(&mut self, area: &Area, ticks: &[Tick], name: &str) {
        self.text("soft", Anchor::Start, EDGE, area.top - 17.0, name);
        for tick in ticks {
            self.line("grid", (area.left, tick.at), (area.right, tick.at));
            self.text("soft", Anchor::End, area.left - 8.0, tick.at + 4.5, &tick.label);
        }
    }

    /// Base line, ticks with labels that keep apart, and the axis' name below them.
    pub fn x_axis(&mut self, area: &Area, ticks: &[Tick], name: &str) {
        self.line("axis", (area.left, area.bottom), (area.right, area.bottom));
        let mut free = f64::NEG_INFINITY;
        for tick in ticks {
            let half = text_width(&tick.label, TEXT) / 2.0;
            // The outermost labels stay on the sheet.
            let x = tick.at.clamp(half + 2.0, (self.width - half - 2.0).max(half + 2.0));
            self.line("axis", (tick.at, area.bottom), (tick.at, area.bottom + 5.0));
            if x - half > free {
                self.text("soft", Anchor::Middle, x, area.bottom + 19.0, &tick.label);
                free = x + half + 8.0;
            }
        }
        let middle = (area.left + area.right) / 2.0;
        for (i, line) in self.wrap_name(name).iter().enumerate() {
            self.text("soft", Anchor::Middle, middle, area.bottom + 39.0 + LINE * i as f64, line);
        }
    }
}

/// A coordinate with at most two decimals. What cannot be drawn becomes 0, so no file ever says `NaN`.
pub fn px(v: f64) -> String {
    let v = if drawable(v) { (v * 100.0).round() / 100.0 } else { 0.0 };
    // Adding zero turns −0 into 0.
    format!("{}", v + 0.0)
}

/// About how wide a text is in a sans-serif face; never much too little.
pub fn text_width(text: &str, size: f64) -> f64 {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.32,
        'f' | 't' | 'r' | ' ' | '(' | ')' | '-' | '/' | '\u{a0}' => 0.4,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.92,
        c if c.is_ascii_uppercase() => 0.7,
        c if c.is_ascii() => 0.6,
        c if (c as u32) < 0x2e80 => 0.66,
        _ => 1.05,
    };
    size * text.chars().map(em).sum::<f64>()
}

/// Breaks a text into at most `lines` lines of at most `width`; what does not fit ends in an ellipsis.
pub fn wrap(text: &str, width: f64, lines: usize) -> Vec<String> {
    /// Longer than any line can show; a name from outside may be of any length.
    const LONGEST: usize = 600;
    let text: String = text.chars().take(LONGEST).collect();
    let fits = |s: &str| text_width(s, TEXT) <= width;
    let (mut out, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        let joined = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        // The last line takes the rest, and is cut below.
        if fits(&joined) || line.is_empty() || out.len() + 1 >= lines {
            line = joined;
        } else {
            out.push(std::mem::replace(&mut line, word.to_owned()));
        }
    }
    out.push(line);
    for line in out.iter_mut().filter(|line| !fits(line)) {
        while !line.is_empty() && !fits(&format!("{line}…")) {
            line.pop();
        }
        *line = format!("{}…", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_always_numbers() {
        let cases = [(1.0, "1"), (0.125, "0.13"), (-0.001, "0"), (f64::NAN, "0"), (f64::INFINITY, "0"), (1e300, "0")];
        for (v, want) in cases {
            assert_eq!(px(v), want);
        }
    }

    #[test]
    fn wrapped_lines_fit_and_lose_no_word_silently() {
        let text = "largest squared coordinate over the sum of squared coordinates, averaged over the features";
        let whole = wrap(text, 300.0, 5);
        assert_eq!(whole.join(" "), text);
        assert!(whole.iter().all(|l| text_width(l, TEXT) <= 300.0), "{whole:?}");
        let cut = wrap(text, 300.0, 2);
        assert_eq!(cut.len(), 2);
        assert!(cut[1].ends_with('…') && text_width(&cut[1], TEXT) <= 300.0, "{cut:?}");
        assert!(wrap(&"x".repeat(500), 100.0, 2)[0].ends_with('…'));
        assert_eq!(wrap("", 100.0, 2), [""]);
    }
}
