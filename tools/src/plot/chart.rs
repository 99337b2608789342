//! Three charts over one axis of time: numbers, what is under way, round trips.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::Canvas;
use super::flow::{Flow, Seen};
use super::overlay::Overlay;

/// What is drawn.
pub(super) struct Plot<'a> {
    pub(super) flow: &'a Flow,
    /// Which direction's data.
    pub(super) way: usize,
    pub(super) overlay: Option<&'a Overlay>,
    /// Seconds from the first segment on.
    pub(super) span: Option<(f64, f64)>,
}

/// A drawing that did not work out.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct DrawError(String);

/// Its text.
pub(super) fn svg(plot: &Plot<'_>, size: (u32, u32)) -> Result<Vec<u8>, DrawError> {
    let mut text = String::new();
    draw(plot, &SVGBackend::with_string(&mut text, size).into_drawing_area())?;
    Ok(text.into_bytes())
}

/// Its bytes.
pub(super) fn png(plot: &Plot<'_>, size: (u32, u32)) -> Result<Vec<u8>, DrawError> {
    let mut pixels = vec![0; size.0 as usize * size.1 as usize * 3];
    draw(plot, &Canvas::new(&mut pixels, size).into_drawing_area())?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size.0, size.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
    written.map_err(wrong)?;
    Ok(bytes)
}

/// Whose data, to whom, and how much.
pub(super) fn title(flow: &Flow, way: usize) -> String {
    let seconds = flow.seconds();
    // To three digits that say something, and to a millisecond.
    let digits = if seconds > 0.0 { (decimals(seconds, 1) + 2).max(3) } else { 3 };
    format!(
        "{} > {}, {} bytes in {seconds:.digits$} s, {} segments sent again",
        flow.ends()[way],
        flow.ends()[1 - way],
        flow.bytes(way),
        flow.resent(way)
    )
}

fn wrong(error: impl std::fmt::Display) -> DrawError {
    DrawError(error.to_string())
}

type Area<B> = DrawingArea<B, Shift>;
type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn draw<B: DrawingBackend>(plot: &Plot<'_>, area: &Area<B>) -> Result<(), DrawError> {
    let height = f64::from(area.dim_in_pixel().1);
    area.fill(&WHITE).map_err(wrong)?;
    let anchor = Pos::new(HPos::Left, VPos::Top);
    let style = TextStyle::from(("sans-serif", 16).into_font()).pos(anchor);
    area.draw_text(&title(plot.flow, plot.way), &style, (10, 8)).map_err(wrong)?;
    let (_, body) = area.split_vertically(28);
    let (numbers, rest) = body.split_vertically((height * 0.56) as u32);
    let (flight, trips) = rest.split_vertically((height * 0.2) as u32);
    plot.numbers(&numbers)?;
    plot.flight(&flight)?;
    plot.trips(&trips)?;
    area.present().map_err(wrong)
}

impl Plot<'_> {
    fn seconds(&self) -> (f64, f64) {
        let whole = self.flow.seconds().max(1e-6);
        let (from, to) = self.span.unwrap_or((0.0, whole));
        let to = to.min(whole);
        if from < to { (from, to) } else { (0.0, whole) }
    }

    fn is_shown(&self, at: f64) -> bool {
        let (from, to) = self.seconds();
        (from..=to).contains(&at)
    }

    fn chart<'a, B: DrawingBackend + 'a>(
        &self,
        area: &Area<B>,
        unit: &str,
        (low, high): (f64, f64),
    ) -> Result<Chart<'a, B>, DrawError> {
        let (from, to) = self.seconds();
        let high = if high > low { high } else { low + 1.0 };
        let high = high + (high - low) * 0.05;
        let digits = [decimals(to - from, TIMES), decimals(high - low, VALUES)];
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            // Half of a time's text stands right of its mark.
            .margin_right(40)
            .x_label_area_size(26)
            .y_label_area_size(96)
            .build_cartesian_2d(from..to, low..high)
            .map_err(wrong)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(BLACK.mix(0.08))
            .x_labels(TIMES)
            .y_labels(VALUES)
            .x_label_formatter(&|at| format!("{at:.*} s", digits[0]))
            .y_label_formatter(&|value| format!("{value:.*}", digits[1]))
            .y_desc(unit)
            .label_style(("sans-serif", 13))
            .draw()
            .map_err(wrong)?;
        Ok(chart)
    }

    /// Segments, acknowledgements, the window, and what is beyond a hole.
    fn numbers<B: DrawingBackend>(&self, area: &Area<B>) -> Result<(), DrawError> {
        let shown = || self.flow.segments().iter().filter(|seen| self.is_shown(seen.at));
        let sent = || shown().filter(|seen| seen.way == self.way && seen.len > 0);
        let told = || shown().filter(|seen| seen.way != self.way);
        let ends = sent().flat_map(|seen| [seen.seq, seen.seq + seen.len]);
        let ends: Vec<i64> = ends.chain(told().filter_map(|seen| seen.ack)).collect();
        let (low, high) = (ends.iter().min().copied(), ends.iter().max().copied());
        let span = (low.unwrap_or(0) as f64, high.unwrap_or(1) as f64);
        let mut chart = self.chart(area, "sequence number", span)?;
        let edges = steps(told().filter_map(|seen| Some((seen.at, seen.edge?))));
        let below = |(at, value): (f64, f64)| (at, value.min(span.1 + (span.1 - span.0) * 0.05));
        line(&mut chart, edges.into_iter().map(below), ORANGE_LINE, "window")?;
        line(
            &mut chart,
            steps(told().filter_map(|seen| Some((seen.at, seen.ack?)))),
            GREEN_LINE,
            "acknowledged",
        )?;
        let once = sent().filter(|seen| !seen.again).map(bar);
        bars(&mut chart, once, BLUE_LINE, "sent")?;
        bars(&mut chart, sent().filter(|seen| seen.again).map(bar), RED_LINE, "sent again")?;
        let blocks =
            told().flat_map(|seen| seen.sack.iter().map(|&(left, right)| (seen.at, left, right)));
        bars(&mut chart, blocks, PURPLE_LINE, "SACK")?;
        legend(&mut chart, SeriesLabelPosition::UpperLeft)
    }

    /// What is not acknowledged, and the congestion window where the stack has told it.
    fn flight<B: DrawingBackend>(&self, area: &Area<B>) -> Result<(), DrawError> {
        let flight = self.flow.in_flight(self.way).into_iter().filter(|(at, _)| self.is_shown(*at));
        let flight = steps(flight);
        let cwnd = self.overlay.map(|overlay| self.shown(&overlay.cwnd)).unwrap_or_default();
        let high = flight.iter().chain(&cwnd).fold(0.0, |high: f64, (_, bytes)| high.max(*bytes));
        let mut chart = self.chart(area, "bytes", (0.0, high))?;
        line(&mut chart, flight, BLUE_LINE, "under way")?;
        if !cwnd.is_empty() {
            line(&mut chart, cwnd, RED_LINE, "congestion window")?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperLeft)
    }

    fn trips<B: DrawingBackend>(&self, area: &Area<B>) -> Result<(), DrawError> {
        let trips = self.flow.round_trips(self.way);
        let trips: Vec<_> = trips.iter().map(|trip| (trip.at, trip.seconds)).collect();
        let seen = in_millis(self.shown(&trips));
        let told = self.overlay.map(|overlay| self.shown(&overlay.rtt)).unwrap_or_default();
        let told = in_millis(told);
        let high = seen.iter().chain(&told).fold(0.0, |high: f64, (_, rtt)| high.max(*rtt));
        let mut chart = self.chart(area, "round trip, ms", (0.0, high.max(1e-3)))?;
        let points = seen.into_iter().map(|point| Circle::new(point, 2, BLUE_LINE.filled()));
        chart
            .draw_series(points)
            .map_err(wrong)?
            .label("as captured")
            .legend(|at| key(at, BLUE_LINE));
        if !told.is_empty() {
            line(&mut chart, told, RED_LINE, "as the stack has it")?;
        }
        // No round trip is near zero.
        legend(&mut chart, SeriesLabelPosition::LowerRight)
    }

    fn shown(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        points.iter().copied().filter(|(at, _)| self.is_shown(*at)).collect()
    }
}

/// Digits behind the point that tell marks apart of which at most so many are on an axis: they are
/// at multiples of 1, 2 or 5 times a power of ten.
fn decimals(span: f64, marks: usize) -> usize {
    let least = span / marks as f64;
    let power = least.log10().floor();
    let power = if least > 5.0 * 10f64.powf(power) { power + 1.0 } else { power };
    (-power).clamp(0.0, 9.0) as usize
}

/// Marks on the axis of time, and on the others, at most.
const TIMES: usize = 12;
const VALUES: usize = 7;

fn in_millis(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.into_iter().map(|(at, seconds)| (at, seconds * 1e3)).collect()
}

fn bar(seen: &Seen) -> (f64, i64, i64) {
    (seen.at, seen.seq, seen.seq + seen.len)
}

/// A value stays until it changes.
fn steps(values: impl Iterator<Item = (f64, i64)>) -> Vec<(f64, f64)> {
    let mut all: Vec<(f64, f64)> = Vec::new();
    for (at, value) in values {
        let value = value as f64;
        if let Some(&(_, before)) = all.last().filter(|last| last.1 != value) {
            all.push((at, before));
        }
        all.push((at, value));
    }
    all
}

fn line<B: DrawingBackend>(
    chart: &mut Chart<'_, B>,
    points: impl IntoIterator<Item = (f64, f64)>,
    color: RGBColor,
    label: &str,
) -> Result<(), DrawError> {
    let series = LineSeries::new(points, color.stroke_width(1));
    let drawn = chart.draw_series(series).map_err(wrong)?;
    drawn.label(label).legend(move |at| key(at, color));
    Ok(())
}

fn bars<B: DrawingBackend>(
    chart: &mut Chart<'_, B>,
    bars: impl Iterator<Item = (f64, i64, i64)>,
    color: RGBColor,
    label: &str,
) -> Result<(), DrawError> {
    let mut bars = bars.peekable();
    if bars.peek().is_none() {
        return Ok(());
    }
    let series = bars.map(|(at, from, to)| {
        PathElement::new(vec![(at, from as f64), (at, to as f64)], color.stroke_width(2))
    });
    let drawn = chart.draw_series(series).map_err(wrong)?;
    drawn.label(label).legend(move |at| key(at, color));
    Ok(())
}

fn key((x, y): (i32, i32), color: RGBColor) -> Rectangle<(i32, i32)> {
    Rectangle::new([(x, y - 4), (x + 14, y + 4)], color.filled())
}

fn legend<'a, B: DrawingBackend + 'a>(
    chart: &mut Chart<'a, B>,
    position: SeriesLabelPosition,
) -> Result<(), DrawError> {
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()
        .map_err(wrong)
}

const BLUE_LINE: RGBColor = RGBColor(31, 90, 180);
const RED_LINE: RGBColor = RGBColor(214, 39, 40);
const GREEN_LINE: RGBColor = RGBColor(44, 140, 44);
const ORANGE_LINE: RGBColor = RGBColor(230, 150, 40);
const PURPLE_LINE: RGBColor = RGBColor(148, 60, 190);
