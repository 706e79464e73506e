"""A guitar amplifier: sound through a network from a .nam file, block by block.

    python examples/guitar_amp.py amp.nam loud.wav                  a plucked string, made here
    python examples/guitar_amp.py amp.nam loud.wav --input dry.wav

Neural Amp Modeler (https://www.neuralampmodeler.com) trains networks that sound like an amplifier,
and people share them as .nam files; those with an LSTM are read here. The network runs as it would
in a player: on some samples at a time, as a sound card brings them.

The string is that of Karplus, K. & Strong, A. (1983). Digital synthesis of plucked-string and drum
timbres. Computer Music Journal 7: noise, which goes round and round through a mean of neighbours.
"""

import argparse
import time
import wave

import numpy as np

import crnn

LARGEST = 32768  # of 16 bits


def read(path):
    """Return the samples (T,) of a WAV file with one channel of 16 bits, and their rate."""
    with wave.open(path, "rb") as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            raise SystemExit(f"{path} has {file.getnchannels()} channels of"
                             f" {8 * file.getsampwidth()} bits; one of 16 bits is wanted")
        data = file.readframes(file.getnframes())
        return np.frombuffer(data, "<i2").astype(np.float32) / LARGEST, file.getframerate()


def write(path, samples, rate):
    """Write samples as a WAV file; what is too loud for it is cut off."""
    whole = np.clip(np.rint(samples * LARGEST), -LARGEST, LARGEST - 1).astype("<i2")
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())


def plucked(rng, seconds, rate, pitch=110.0):
    """Return the samples (T,) of a string that is plucked every second."""
    period, samples = round(rate / pitch), np.zeros(round(seconds * rate), np.float32)
    for start in range(0, len(samples), rate):
        string = rng.uniform(-0.5, 0.5, period)
        for begin in range(start, min(start + rate, len(samples)), period):
            part = samples[begin : begin + period]
            part[:] = string[: len(part)]
            string = (string + np.roll(string, 1)) / 2
    return samples


def played(net, samples, block):
    """Return what a network makes of samples, in blocks, and how long each block took."""
    stream, y, times = net.stream(), np.empty((len(samples), 1), net.dtype), []
    for start in range(0, len(samples), block):
        part = slice(start, min(start + block, len(samples)))
        begin = time.perf_counter()
        stream.run(samples[part, None], out=y[part])  # which allocates nothing
        times.append(time.perf_counter() - begin)
    return y[:, 0], np.array(times)


def main(arguments=None):
    """Play a sound; return how many times as fast as it sounds."""
    parser = argparse.ArgumentParser(
        description="Play a sound through a guitar amplifier, a network from a .nam file.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("model", help="a .nam file with an LSTM")
    add("output", help="the WAV file that is written")
    add("--input", metavar="WAV", help="what is played, one channel of 16 bits; or a string, made")
    add("--seconds", type=float, default=10.0, help="of the string")
    add("--block", type=int, default=64, metavar="N", help="samples at a time")
    add("--seed", type=int, default=0, help="of the string")
    options = parser.parse_args(arguments)
    net = crnn.from_nam(options.model)
    rate = round(float(net.metadata.get("sample_rate", 48000)))
    if options.input is None:
        samples = plucked(np.random.default_rng(options.seed), options.seconds, rate)
    else:
        samples, found = read(options.input)
        if found != rate:
            raise SystemExit(f"{options.input} has {found} samples a second, and the network is for"
                             f" {rate}: resample it first")
    begin = time.process_time()
    y, times = played(net, samples, options.block)
    seconds, taken = len(samples) / rate, time.process_time() - begin
    write(options.output, y, rate)
    print(net)
    print(f"{seconds:.1f} s in {taken:.2f} s: {seconds / taken:.0f} times as fast as it sounds")
    print(f"{options.block} samples last {1e6 * options.block / rate:.0f} us, and took"
          f" {1e6 * np.median(times):.0f} us (median), {1e6 * times.max():.0f} us (longest)")
    return seconds / taken


if __name__ == "__main__":
    main()
