//! Latents and reconstructions of an autoencoder of any format, as `.npy`: what `benches/peers/check_files.py` holds against the
//! packages that wrote it.
//!
//! `sae_outputs SAE X.npy LATENTS.npy RECON.npy [KEY]`, with one sample a row of X.

use std::error::Error;
use std::path::Path;
use superlens::sae::files::{self, ReadOptions};
use superlens_tensor::Mat;
use superlens_tensor::io::{ReadOptions as MatrixOptions, read_matrix, write_atomic};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [sae, x, latents_to, recon_to, key @ ..] = arguments.as_slice() else {
        return Err("sae_outputs SAE X.npy LATENTS.npy RECON.npy [KEY]".into());
    };
    let options = ReadOptions { key: key.first().cloned(), ..ReadOptions::default() };
    let sae = files::read_with(Path::new(sae), None, &options)?.sae;
    let x = read_matrix(Path::new(x), &MatrixOptions::default())?.mat;
    let latents = sae.encode(&x);
    let mut dense = Mat::zeros(x.rows(), sae.d_sae());
    for i in 0..x.rows() {
        let (indices, values) = latents.row(i);
        indices.iter().zip(values).for_each(|(&j, &v)| dense[(i, j as usize)] = v);
    }
    write_atomic(Path::new(latents_to), &npy(&dense))?;
    write_atomic(Path::new(recon_to), &npy(&sae.reconstruct(&latents, x.view())))?;
    Ok(())
}

fn npy(mat: &Mat) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", mat.rows(), mat.cols());
    let header = format!("{header:<117}\n");
    [
        b"\x93NUMPY\x01\x00\x76\x00",
        header.as_bytes(),
        &mat.data().iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>(),
    ]
    .concat()
}
