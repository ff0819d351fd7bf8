//! Graphs of ours and a published one, held against what PyTorch computed.

use std::io::{Read, Write};

use super::*;
use crate::model::family_tests::tensors;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/onnx").join(name)
}

fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// All rows of each node.
fn run(graph: &Graph, names: &[&str], samples: Samples, layout: Layout) -> Result<Vec<Mat>, OnnxError> {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut all: Vec<(usize, Vec<f32>)> = vec![(0, Vec::new()); names.len()];
    graph.run(&names, samples, layout, |found| {
        for ((width, all), found) in all.iter_mut().zip(found) {
            *width = found.cols();
            all.extend_from_slice(found.data());
        }
        Ok::<(), OnnxError>(())
    })?;
    Ok(all.into_iter().map(|(width, data)| Mat::from_vec(data.len() / width, width, data)).collect())
}

#[test]
fn nodes_give_what_pytorch_computed() {
    let graph = Graph::open(&fixture("tiny_cnn.onnx"), &BTreeMap::new()).unwrap_or_else(|e| panic!("{e}"));
    let nodes = graph.nodes();
    assert!(nodes.contains(&Node { name: "/c2/relu".into(), operation: "Clip".into() }), "{nodes:?}");
    let reference = tensors(&fixture("tiny_cnn.safetensors"));
    let (shape, data) = &reference["image"];
    let samples = Samples { shape, data };
    let found = run(&graph, &["/c1/relu", "/c2/relu", "classes"], samples, Layout::Places).unwrap();
    assert_eq!([found[0].shape(), found[1].shape(), found[2].shape()], [(70 * 64, 5), (70 * 16, 5), (70, 4)]);
    assert!(apart(found[2].data(), &reference["classes"].1) < 1e-5);
    // A row for each place, channels as columns.
    let c2 = &reference["c2_relu"].1;
    let turned = Mat::from_fn(70 * 16, 5, |row, c| c2[(row / 16 * 5 + c) * 16 + row % 16]);
    assert!(apart(found[1].data(), turned.data()) < 1e-5);
    // Nodes by their own names are the same; whole samples keep the order of the array.
    let whole = run(&graph, &["/c2/Relu", "/c1/Relu"], samples, Layout::Whole).unwrap();
    assert!(apart(whole[0].data(), c2) < 1e-5);
    assert!(apart(&whole[1].data()[..2 * 5 * 64], &reference["c1_relu_of_the_first"].1) < 1e-5);
}

#[test]
fn what_does_not_fit_is_told() {
    let open = |path: &Path| Graph::open(path, &BTreeMap::new()).map(|_| ()).unwrap_err().to_string();
    assert!(open(&fixture("none.onnx")).contains("no such file"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broken.onnx");
    let good = std::fs::read(fixture("tiny_cnn.onnx")).unwrap();
    for bytes in [&b"hello"[..], &good[..good.len() / 2], &[0xff; 64]] {
        std::fs::write(&path, bytes).unwrap();
        let told = open(&path);
        assert!(told.contains("broken.onnx") && !told.contains('\n'), "{told}");
    }
    let graph = Graph::open(&fixture("tiny_cnn.onnx"), &BTreeMap::new()).unwrap();
    let said = |names: &[&str], shape: &[usize]| {
        let data = vec![0.5; shape.iter().product()];
        run(&graph, names, Samples { shape, data: &data }, Layout::Places).unwrap_err().to_string()
    };
    assert!(said(&["/c3/relu"], &[2, 3, 8, 8]).contains("/c3/relu"));
    assert!(said(&["classes"], &[2, 4, 8, 8]).contains("[4, 8, 8]"));
    assert!(said(&["classes"], &[2, 7]).contains("[7]"));
    let weightless = Graph::open(&fixture("mnist_cnn.onnx"), &BTreeMap::new()).unwrap();
    let told = run(&weightless, &["log_probs"], Samples { shape: &[1, 1, 28, 28], data: &[0.0; 784] }, Layout::Places);
    assert!(told.unwrap_err().to_string().contains("conv1.weight"));
}

/// The convolutional network on MNIST that burn's authors published, on the images of the test set.
#[test]
fn a_published_network_computes_what_was_published() {
    let Some(data) = std::env::var_os("SUPERLENS_TEST_DATA").map(PathBuf::from) else {
        // Straight to stderr: the harness keeps what passing tests print to itself.
        let _ = writeln!(std::io::stderr(), "skipped: SUPERLENS_TEST_DATA names no folder");
        return;
    };
    let weights = tensors(&data.join("burn_mnist_cnn/mnist.safetensors"));
    let graph = Graph::open(&fixture("mnist_cnn.onnx"), &weights).unwrap_or_else(|e| panic!("{e}"));
    let mut pixels = Vec::new();
    let images = std::fs::File::open(data.join("mnist_t10k/t10k-images-idx3-ubyte.gz")).unwrap();
    flate2::read::GzDecoder::new(images).read_to_end(&mut pixels).unwrap();
    let images: Vec<f32> =
        pixels[16..16 + 32 * 784].iter().map(|&x| (f32::from(x) / 255.0 - 0.1307) / 0.3081).collect();
    let samples = Samples { shape: &[32, 1, 28, 28], data: &images };
    let found =
        run(&graph, &["conv1_relu", "conv2_relu", "conv3_relu", "fc1_hidden", "log_probs"], samples, Layout::Places)
            .unwrap();
    let reference = tensors(&data.join("burn_mnist_cnn/reference.safetensors"));
    for (at, name) in ["conv1_relu_mean", "conv2_relu_mean", "conv3_relu_mean"].iter().enumerate() {
        let places = found[at].rows() / 32;
        let mean = Mat::from_fn(32, found[at].cols(), |n, c| {
            (0..places).map(|p| found[at][(n * places + p, c)]).sum::<f32>() / places as f32
        });
        assert!(apart(mean.data(), &reference[*name].1) < 1e-4, "{name}");
    }
    // Sums of 11,616 products that reach 25: to a part in a hundred thousand.
    let largest = reference["fc1_hidden"].1.iter().copied().fold(0.0, f32::max);
    assert!(apart(found[3].data(), &reference["fc1_hidden"].1) < 1e-5 * largest);
    assert!(apart(found[4].data(), &reference["log_probs"].1) < 1e-4);
}
