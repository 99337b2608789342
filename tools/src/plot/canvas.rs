//! A picture of pixels with letters of its own, so that none of the host's fonts is needed.

use std::convert::Infallible;

use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, ascii};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Pixel, Point, Size};
use embedded_graphics::text::{Baseline, Text};
use plotters::prelude::BitMapBackend;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontTransform,
};

/// The error of a [`BitMapBackend`].
type Error<'a> = <BitMapBackend<'a> as DrawingBackend>::ErrorType;
type Done<'a> = Result<(), DrawingErrorKind<Error<'a>>>;

/// Draws into RGB bytes.
pub(super) struct Canvas<'a> {
    pixels: BitMapBackend<'a>,
}

impl<'a> Canvas<'a> {
    /// `buffer` has three bytes for each pixel.
    pub(super) fn new(buffer: &'a mut [u8], size: (u32, u32)) -> Self {
        Canvas { pixels: BitMapBackend::with_buffer(buffer, size) }
    }
}

impl<'a> DrawingBackend for Canvas<'a> {
    type ErrorType = Error<'a>;

    fn get_size(&self) -> (u32, u32) {
        self.pixels.get_size()
    }

    fn ensure_prepared(&mut self) -> Done<'a> {
        self.pixels.ensure_prepared()
    }

    fn present(&mut self) -> Done<'a> {
        self.pixels.present()
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Done<'a> {
        self.pixels.draw_pixel(point, color)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Done<'a> {
        self.pixels.draw_line(from, to, style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Done<'a> {
        self.pixels.draw_rect(upper_left, bottom_right, style, fill)
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Self::ErrorType>> {
        let size = font(style.size()).character_size;
        Ok((size.width * text.chars().count() as u32, size.height))
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        pos: BackendCoord,
    ) -> Done<'a> {
        let font = font(style.size());
        let mut letters = Letters(Vec::new());
        let ink = MonoTextStyle::new(font, BinaryColor::On);
        let drawn = Text::with_baseline(text, Point::zero(), ink, Baseline::Top).draw(&mut letters);
        let (width, height) = self.estimate_text_size(text, style)?;
        let (width, height) = (width as i32, height as i32);
        let left = match style.anchor().h_pos {
            HPos::Left => 0,
            HPos::Right => -width,
            HPos::Center => -width / 2,
        };
        let top = match style.anchor().v_pos {
            VPos::Top => 0,
            VPos::Center => -height / 2,
            VPos::Bottom => -height,
        };
        let Ok(_) = drawn;
        let turn: FontTransform = style.transform();
        let (whole_width, whole_height) = self.get_size();
        for Point { x, y } in letters.0 {
            let (x, y) = turn.transform(x + left, y + top);
            let (x, y) = (pos.0 + x, pos.1 + y);
            if (0..whole_width as i32).contains(&x) && (0..whole_height as i32).contains(&y) {
                self.draw_pixel((x, y), style.color())?;
            }
        }
        Ok(())
    }
}

/// The letters' points, from the upper left corner.
struct Letters(Vec<Point>);

impl OriginDimensions for Letters {
    fn size(&self) -> Size {
        Size::new(u16::MAX.into(), u16::MAX.into())
    }
}

impl DrawTarget for Letters {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        let on = pixels.into_iter().filter(|pixel| pixel.1 == BinaryColor::On);
        self.0.extend(on.map(|pixel| pixel.0));
        Ok(())
    }
}

fn font(size: f64) -> &'static MonoFont<'static> {
    if size < 16.0 { &ascii::FONT_6X10 } else { &ascii::FONT_8X13 }
}
