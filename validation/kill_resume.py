"""Kills trainings with SIGKILL at random moments, goes on with them, and compares the bytes of the dictionaries with those of a run that
nobody disturbed.

    cargo build --release
    python3 validation/kill_resume.py --kills 50

Every trial kills and resumes until the run is through; its number of kills counts. What --arches joins by + is a sweep, whose runs stop when
they gain no more. Needs Python alone.
"""
import argparse, hashlib, json, pathlib, random, shutil, struct, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
ap.add_argument("--superlens", default=ROOT / "target/release/superlens")
ap.add_argument("--kills", type=int, default=50)
ap.add_argument("--seed", type=int, default=0)
ap.add_argument("--arches", default="topk,batch_topk,jumprelu,gated,topk+jumprelu+gated")
args = ap.parse_args()


def activations(path, rows=20_000, dims=64):
    """Sums of a few of 256 directions, as a .npy file."""
    draw = random.Random(1)
    directions = [[draw.gauss(0, dims ** -0.5) for _ in range(dims)] for _ in range(256)]
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dims}), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        for _ in range(rows):
            chosen = [(draw.randrange(256), draw.uniform(0.5, 1.5)) for _ in range(5)]
            f.write(struct.pack(f"<{dims}f", *(sum(v * directions[j][c] for j, v in chosen) for c in range(dims))))


def command(arch, data, out):
    sparsity = {"jumprelu": ["--target-l0", 8], "gated": [], "relu": []}.get(arch, ["--k", 8])
    if "+" in arch:
        sparsity = ["--k", "4,8", "--target-l0", 8, "--l1", "0.2,2", "--patience", 1]
    return [args.superlens, "train", "--activations", data, "--arch", arch.replace("+", ","), "--d-sae", 512, *sparsity, "--batch", 512,
            "--steps", 1500, "--lr", 1e-3, "--checkpoint-every", 25, "--average", 0.99, "--out", out, "--quiet"]


def digest(out):
    files = sorted(out.rglob("sae_weights.safetensors")) + sorted(out.rglob("metrics.jsonl"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def start(words):
    return subprocess.Popen([str(w) for w in words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def main():
    chance, kills, trials, wrong = random.Random(args.seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        data = folder / "x.npy"
        activations(data)
        whole, seconds = {}, {}
        for arch in args.arches.split(","):
            began = time.monotonic()
            subprocess.run([str(w) for w in command(arch, data, folder / arch)], check=True, stdout=subprocess.DEVNULL)
            whole[arch], seconds[arch] = digest(folder / arch), time.monotonic() - began
            if "+" in arch:
                steps = {f.parent.name: json.loads(f.read_text())["steps"] for f in sorted((folder / arch).glob("*/report.json"))}
                print(f"steps of {arch}: {steps}", flush=True)
        while kills < args.kills:
            arch = chance.choice(list(whole))
            out, words, here = folder / "trial", command(arch, data, folder / "trial"), 0
            while True:
                run = start(words)
                # From before anything is written to after the end.
                try:
                    run.wait(chance.uniform(0.0, 0.7 * seconds[arch]))
                except subprocess.TimeoutExpired:
                    run.kill()
                    run.wait()
                    here += 1
                    if (out / "config.toml").exists() or (out / "sweep.toml").exists():
                        words = [args.superlens, "train", "--resume", out, "--quiet"]
                    elif out.exists():
                        shutil.rmtree(out)
                    continue
                if run.returncode:
                    sys.exit(f"{arch} after {here} kills: exit {run.returncode}: {run.stderr.read().strip()}")
                break
            same = digest(out) == whole[arch]
            wrong += not same
            kills, trials = kills + here, trials + 1
            print(f"{arch}: {here} kills, {'the same bytes' if same else 'OTHER BYTES'}; {kills} kills so far", flush=True)
            shutil.rmtree(out)
    print(f"{kills} kills in {trials} runs: {trials - wrong} ended with the same bytes, {wrong} did not")
    sys.exit(1 if wrong else 0)


main()
