"""Trainings from a file and from a store on a disk that fills up, from checkpoints that are cut short, and from stores that have changed: one
line each, nothing lost, and the same bytes in the end as without the trouble.

    cargo build --release
    sudo python3 validation/full_disk.py

Mounts a small tmpfs for the run folders, so it wants root on Linux. Needs Python alone.
"""
import argparse, hashlib, os, pathlib, random, shutil, struct, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
ap.add_argument("--superlens", default=ROOT / "target/release/superlens")
args = ap.parse_args()
STEPS, EVERY = 1200, 60
wrong = []


def activations(path, rows=6000, dims=32):
    draw = random.Random(1)
    directions = [[draw.gauss(0, dims ** -0.5) for _ in range(dims)] for _ in range(96)]
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dims}), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        for _ in range(rows):
            chosen = [(draw.randrange(96), draw.uniform(0.5, 1.5)) for _ in range(4)]
            f.write(struct.pack(f"<{dims}f", *(sum(v * directions[j][c] for j, v in chosen) for c in range(dims))))


def words(*more):
    return [str(w) for w in (args.superlens, "--quiet", *more)]


def train(data, out, arch):
    sparsity = ["--target-l0", 8] if arch == "jumprelu" else ["--k", 8]
    return words("train", "--activations", data, "--arch", arch, "--d-sae", 1024, *sparsity, "--batch", 256, "--steps", STEPS, "--lr", 1e-3,
                 "--checkpoint-every", EVERY, "--out", out)


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr.strip()


def judge(what, good, told):
    print(f"{'ok   ' if good else 'WRONG'} {what}: {told}", flush=True)
    if not good:
        wrong.append(what)


def one_line(what, done, code, *says):
    returned, told = done
    judge(what, returned == code and len(told.splitlines()) == 1 and all(s in told for s in says), f"exit {returned}: {told}")


def digest(out):
    return hashlib.sha256((out / "sae" / "sae_weights.safetensors").read_bytes()).hexdigest()


def checkpoints(out):
    return sorted((out / "checkpoints").glob("*.safetensors"))


def fill(disk):
    """Leaves nothing free."""
    (disk / "filler").touch()
    with open(disk / "filler", "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"\0" * 4096)
        except OSError:
            pass


def full_disk(kind, data, whole, disk):
    out = disk / "run"
    going = subprocess.Popen(train(data, out, "topk"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while len(checkpoints(out)) < 2 and going.poll() is None:
        time.sleep(0.005)
    fill(disk)
    told = going.communicate()[1].strip()
    one_line(f"{kind}: the disk fills up", (going.returncode, told), 1, "No space left", f"--resume {out}")
    kept = checkpoints(out)
    judge(f"{kind}: checkpoints kept", len(kept) >= 1, [f.name for f in kept])
    one_line(f"{kind}: resumed while it is still full", run(words("train", "--resume", out)), 1, "No space left")
    judge(f"{kind}: checkpoints kept after that", checkpoints(out)[:1] == kept[:1] or len(checkpoints(out)) >= 1, [f.name for f in checkpoints(out)])
    (disk / "filler").unlink()
    returned, told = run(words("train", "--resume", out))
    judge(f"{kind}: resumed with room", returned == 0 and digest(out) == whole, f"exit {returned}, {told or 'the same bytes'}")
    # The dictionary itself does not fit at the end.
    shutil.rmtree(out / "sae")
    fill(disk)
    one_line(f"{kind}: full when the dictionary is written", run(words("train", "--resume", out)), 1, "No space left", "--resume")
    (disk / "filler").unlink()
    returned, told = run(words("train", "--resume", out))
    judge(f"{kind}: then written", returned == 0 and digest(out) == whole, f"exit {returned}, {told or 'the same bytes'}")
    shutil.rmtree(out)
    fill(disk)
    returned, told = run(train(data, out, "topk"))
    judge(f"{kind}: full from the start", returned in (1, 2) and len(told.splitlines()) == 1, f"exit {returned}: {told}")
    (disk / "filler").unlink()
    shutil.rmtree(out, ignore_errors=True)


def broken_checkpoints(kind, data, whole, out):
    run(train(data, out, "topk"))
    older, newer = checkpoints(out)
    text = newer.read_bytes()
    for cut in (0, 7, len(text) // 2, len(text) - 1):
        newer.write_bytes(text[:cut])
        returned, told = run(words("train", "--resume", out))
        judge(f"{kind}: newest checkpoint cut to {cut} bytes", returned == 0 and "warning" in told and digest(out) == whole, told)
    newer.write_bytes(text[:100])
    older.write_bytes(older.read_bytes()[:100])
    one_line(f"{kind}: both checkpoints cut", run(words("train", "--resume", out)), 2, "checkpoints/", "no other checkpoint")
    newer.write_bytes(text)
    returned, told = run(words("train", "--resume", out))
    judge(f"{kind}: newest put back", returned == 0 and digest(out) == whole, f"exit {returned}")


def changed(kind, data, out):
    # A file's last number; of a store the manifest, which holds the hashes of all shards, and a shard that is shorter than it says.
    target = data / "manifest.json" if data.is_dir() else data
    text = target.read_bytes()
    target.write_bytes(text + b"\n" if data.is_dir() else text[:-1] + bytes([text[-1] ^ 1]))
    one_line(f"{kind}: changed", run(words("train", "--resume", out)), 2, "sha256")
    target.write_bytes(text)
    if data.is_dir():
        shard = sorted(data.glob("*/shard-*"))[-1]
        text = shard.read_bytes()
        shard.write_bytes(text[:-4])
        one_line(f"{kind}: a shard cut short", run(words("train", "--resume", out)), 2, shard.name)
        shard.write_bytes(text)
    returned, told = run(words("train", "--resume", out))
    judge(f"{kind}: put back", returned == 0, f"exit {returned}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        file, store, disk = folder / "x.npy", folder / "store", folder / "disk"
        activations(file)
        subprocess.run(words("store", "import", file, "--out", store, "--hook", "h", "--shard-rows", 2500), check=True, stdout=subprocess.DEVNULL)
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True)
        try:
            for kind, data in (("file", file), ("store", store)):
                out = folder / f"{kind}-whole"
                subprocess.run(train(data, out, "topk"), check=True, stdout=subprocess.DEVNULL)
                whole = digest(out)
                full_disk(kind, data, whole, disk)
                broken_checkpoints(kind, data, whole, folder / f"{kind}-broken")
                changed(kind, data, folder / f"{kind}-broken")
        finally:
            subprocess.run(["umount", disk], check=True)
    print(f"{len(wrong)} wrong" + "".join(f"\n  {what}" for what in wrong))
    sys.exit(1 if wrong else 0)


main()
