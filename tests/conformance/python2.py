"""Copies autobahntestsuite so that Python 3.11 can run it: python2.py ITS_FOLDER COPY."""

import pathlib
import shutil
import sys
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from lib2to3 import refactor

# What lib2to3 does not know: (file, what it says, what it should say).
CHANGES = [
    # Never among the cases, and zope.interface has no `implements` in Python 3.
    ("case/__init__.py", "from case9_9_1 import *", ""),
    ("case/case10_1_1.py", " / self.p.autoFragmentSize", " // self.p.autoFragmentSize"),
]
WANTED = ["fuzzing.py", "caseset.py", "_version.py", "case/*.py"]


def converted(tool, folder, file):
    # Text was bytes in Python 2. Read as Latin-1, a character is a byte.
    text = file.read_bytes().decode("latin-1").replace("coding: utf-8", "")
    # Python 3 wants the bases of a class in their order.
    text = text.replace("(object, Case, )", "(Case,)")
    for name, old, new in CHANGES:
        if file == folder / name:
            if text.count(old) != 1:
                raise SystemExit(f"{file} is not the one that this script knows")
            text = text.replace(old, new)
    return str(tool.refactor_string(text if text.endswith("\n") else text + "\n", str(file)))


def main(folder, copy):
    folder, copy = pathlib.Path(folder), pathlib.Path(copy)
    tool = refactor.RefactoringTool(refactor.get_fixers_from_package("lib2to3.fixes"))
    for pattern in WANTED:
        for file in sorted(folder.glob(pattern)):
            place = copy / file.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(converted(tool, folder, file), "utf-8")
    (copy / "__init__.py").write_text("from ._version import __version__\nversion = __version__\n")
    # Its pages in HTML, which nobody asks for.
    (copy / "report.py").write_text("CSS_COMMON = CSS_DETAIL_REPORT = CSS_MASTER_REPORT = JS_MASTER_REPORT = ''\n")
    shutil.copytree(folder / "testdata", copy / "testdata", dirs_exist_ok=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
