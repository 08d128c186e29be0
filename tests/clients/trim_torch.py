#!/usr/bin/env python3
"""trim_torch.py TORCH_FOLDER: let PyPI's torch load where its CUDA packages are not.

The only torch for x86_64 Linux on PyPI is the CUDA build. Its own 0.5 GB holds all
that a CPU needs, but its libraries name 2.2 GB of GPU packages that the dynamic
linker then insists upon, though no CPU run ever calls into them. This takes those
names out of the libraries: the DT_NEEDED entries, and the version requirements that
go with them. No code is changed, and nothing is put in the place of what is missing:
a call into CUDA would end the process. The small libcudart stays needed, because
torch's start-up code calls it.

Names that nobody provides can be left open only under lazy binding, for which the
importing process needs sys.setdlopenflags(os.RTLD_LAZY) before `import torch`
(install-clients puts that into a .pth file). Running this twice changes nothing.
"""
import mmap
import os
import re
import shutil
import struct
import sys

# Libraries of the NVIDIA packages that a CPU run never calls.
UNUSED = re.compile(
    rb"lib(cublas|cublasLt|cudnn|cufft|cufile|cupti|curand|cusolver|cusparse|cusparseLt"
    rb"|nccl|nvrtc|nvshmem_host|nvJitLink)\.so(\.\d+)*$")

# What no CPU run opens, and is large.
SUPERFLUOUS = ("lib/libtorch_cuda_linalg.so", "include")

DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5
DT_VERNEED, DT_VERNEEDNUM, DT_VERSYM = 0x6FFFFFFE, 0x6FFFFFFF, 0x6FFFFFF0
PT_LOAD, PT_DYNAMIC, SHT_DYNSYM = 1, 2, 11
VER_NDX_GLOBAL = 1


class Elf:
    """A 64-bit little-endian shared library, edited in place."""

    def __init__(self, buf):
        self.buf = buf
        if buf[:6] != b"\x7fELF\x02\x01":
            raise ValueError("not a 64-bit little-endian ELF file")
        phoff, shoff = struct.unpack_from("<QQ", buf, 32)
        phsize, phnum, shsize, shnum = struct.unpack_from("<HHHH", buf, 54)
        self.loads = []
        for i in range(phnum):
            kind, _, off, vaddr, _, filesz = struct.unpack_from("<IIQQQQ", buf, phoff + i * phsize)
            if kind == PT_LOAD:
                self.loads.append((vaddr, off, filesz))
            elif kind == PT_DYNAMIC:
                self.dyn_off, self.dyn_size = off, filesz
        self.nsyms = 0
        for i in range(shnum):
            kind, = struct.unpack_from("<I", buf, shoff + i * shsize + 4)
            if kind == SHT_DYNSYM:
                size, = struct.unpack_from("<Q", buf, shoff + i * shsize + 32)
                self.nsyms = size // 24
        self.dyn = []
        for off in range(self.dyn_off, self.dyn_off + self.dyn_size, 16):
            tag, value = struct.unpack_from("<QQ", buf, off)
            if tag == DT_NULL:
                break
            self.dyn.append((tag, value))
        self.tags = dict(self.dyn)
        self.strtab = self.offset(self.tags[DT_STRTAB])

    def offset(self, vaddr):
        """Where in the file an address of the loaded library lies."""
        for start, off, size in self.loads:
            if start <= vaddr < start + size:
                return vaddr - start + off
        raise ValueError("address %#x is in no segment" % vaddr)

    def string(self, index):
        start = self.strtab + index
        return bytes(self.buf[start:self.buf.find(b"\0", start)])

    def drop_needed(self):
        kept = [(t, v) for t, v in self.dyn
                if t != DT_NEEDED or not UNUSED.match(self.string(v))]
        dropped = len(self.dyn) - len(kept)
        if DT_VERNEED in self.tags:
            skip, left = self.drop_versions()
            new = {DT_VERNEED: self.tags[DT_VERNEED] + skip, DT_VERNEEDNUM: left}
            kept = [(t, new.get(t, v)) for t, v in kept]
        off = self.dyn_off
        for entry in kept + [(DT_NULL, 0)] * dropped:
            struct.pack_into("<QQ", self.buf, off, *entry)
            off += 16
        return dropped

    def drop_versions(self):
        """Unlink the version requirements on dropped libraries.

        Returns by how many bytes the list's head moves, and how many stay.
        """
        off = head = self.offset(self.tags[DT_VERNEED])
        last, left, gone = None, 0, set()
        for _ in range(self.tags[DT_VERNEEDNUM]):
            _, count, name, aux, step = struct.unpack_from("<HHIII", self.buf, off)
            if UNUSED.match(self.string(name)):
                aux_off = off + aux
                for _ in range(count):
                    _, _, index, _, aux_step = struct.unpack_from("<IHHII", self.buf, aux_off)
                    gone.add(index & 0x7FFF)
                    aux_off += aux_step
                if last is None:
                    head = off + step
                else:
                    before, = struct.unpack_from("<I", self.buf, last + 12)
                    struct.pack_into("<I", self.buf, last + 12, before + step if step else 0)
            else:
                last, left = off, left + 1
            off += step
        versym = self.offset(self.tags[DT_VERSYM])
        for i in range(self.nsyms if gone else 0):
            index, = struct.unpack_from("<H", self.buf, versym + 2 * i)
            if index & 0x7FFF in gone:
                struct.pack_into("<H", self.buf, versym + 2 * i, VER_NDX_GLOBAL)
        return head - self.offset(self.tags[DT_VERNEED]), left


def trim(path):
    # The file may be a hard link into an installer's cache: change a copy.
    tmp = path + ".trim"
    shutil.copy2(path, tmp)
    try:
        with open(tmp, "r+b") as f, mmap.mmap(f.fileno(), 0) as buf:
            dropped = Elf(buf).drop_needed()
        if dropped:
            os.replace(tmp, path)
        return dropped
    finally:
        if os.path.exists(tmp):
            os.unlink(tmp)


def main():
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    torch = sys.argv[1]
    for name in SUPERFLUOUS:
        path = os.path.join(torch, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.unlink(path)
    lib = os.path.join(torch, "lib")
    for name in sorted(os.listdir(lib)):
        if re.match(r"lib(torch|c10|caffe2|shm).*\.so$", name):
            dropped = trim(os.path.join(lib, name))
            if dropped:
                print("%s: %d CUDA libraries no longer needed" % (name, dropped))
    return 0


if __name__ == "__main__":
    sys.exit(main())
