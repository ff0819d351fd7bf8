//! Rows as images: which image, and which place of it, a row is of.

use superlens_tensor::Mat;

/// Images whose rows follow one another, as many rows for each.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// `[images, height · width · channels]`, in that order.
    pub pixels: Mat,
    pub height: usize,
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
    /// Rows of activations of each image.
    pub rows_each: u64,
}

impl Pictures {
    /// From an array of shape `[n, h, w]`, `[n, 1 or 3, h, w]` or `[n, h, w, 1 or 3]`, for so many rows.
    ///
    /// # Errors
    /// Another shape, and rows that aren't a multiple of the images.
    pub fn new(pixels: &[f32], shape: &[usize], rows: u64) -> Result<Pictures, String> {
        let wanted = "samples × height × width, or with 1 or 3 channels before or after the places";
        let (n, height, width, channels, first) = match *shape {
            [n, h, w] => (n, h, w, 1, false),
            [n, c @ (1 | 3), h, w] => (n, h, w, c, true),
            [n, h, w, c @ (1 | 3)] => (n, h, w, c, false),
            _ => return Err(format!("expected {wanted}, found shape {shape:?}")),
        };
        if n == 0 || height * width == 0 || rows == 0 || !rows.is_multiple_of(n as u64) {
            return Err(format!("holds {n} images, but there are {rows} rows, which is no multiple of that"));
        }
        let places = height * width;
        let at = |i: usize, p: usize, c: usize| {
            pixels[i * places * channels + if first { c * places + p } else { p * channels + c }]
        };
        let pixels = Mat::from_fn(n, places * channels, |i, j| at(i, j / channels, j % channels));
        Ok(Pictures { pixels, height, width, channels, rows_each: rows / n as u64 })
    }

    /// The image and the place in it of a row.
    pub fn place(&self, row: u64) -> (usize, u64) {
        ((row / self.rows_each) as usize, row % self.rows_each)
    }

    /// In words.
    pub fn text(&self, row: u64) -> String {
        match self.place(row) {
            (image, _) if self.rows_each == 1 => format!("image {image}"),
            (image, place) => format!("image {image}, place {place}"),
        }
    }

    /// An image as a bitmap (BMP, 24 bits), its darkest number black and its lightest white.
    pub fn bitmap(&self, image: usize) -> Vec<u8> {
        let pixels = self.pixels.row(image);
        let (low, high) = pixels.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        let shade = |v: f32| (255.0 * (v - low) / (high - low).max(f32::MIN_POSITIVE)).round() as u8;
        let line = (3 * self.width).next_multiple_of(4);
        let size = 54 + line * self.height;
        let mut out = Vec::with_capacity(size);
        out.extend(b"BM");
        [size as u32, 0, 54, 40, self.width as u32, self.height as u32]
            .iter()
            .for_each(|v| out.extend(v.to_le_bytes()));
        out.extend([1, 0, 24, 0]);
        [0u32, (line * self.height) as u32, 2835, 2835, 0, 0].iter().for_each(|v| out.extend(v.to_le_bytes()));
        // From the lowest line up, blue first.
        for y in (0..self.height).rev() {
            for x in 0..self.width {
                let at = (y * self.width + x) * self.channels;
                (0..3).rev().for_each(|c| out.push(shade(pixels[at + c % self.channels])));
            }
            out.resize(out.len() + line - 3 * self.width, 0);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_told_apart_and_rows_find_their_image() {
        let pixels: Vec<f32> = (0..24).map(|v| v as f32).collect();
        let gray = Pictures::new(&pixels, &[2, 3, 4], 8).unwrap();
        assert_eq!((gray.height, gray.width, gray.place(5), gray.text(5)), (3, 4, (1, 1), "image 1, place 1".into()));
        let planes = Pictures::new(&pixels, &[2, 3, 2, 2], 2).unwrap();
        // The first pixel has the first number of each plane.
        assert_eq!(&planes.pixels.row(0)[..3], &[0.0, 4.0, 8.0]);
        assert_eq!(planes.text(1), "image 1");
        assert!(Pictures::new(&pixels, &[2, 3, 4], 7).is_err());
        assert!(Pictures::new(&pixels, &[24], 24).is_err());
        let bitmap = gray.bitmap(0);
        assert_eq!((bitmap.len(), &bitmap[..2], bitmap[18], bitmap[22]), (54 + 36, &b"BM"[..], 4, 3));
        // The lowest line comes first: numbers 8 to 11 of 0 to 11.
        assert_eq!((bitmap[54], bitmap[54 + 9]), ((255.0f32 * 8.0 / 11.0).round() as u8, 255));
    }
}
