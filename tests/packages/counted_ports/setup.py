"""The compiled part; the header of the interface comes with wfpd."""

from Cython.Build import cythonize
from setuptools import Extension, setup

from wfpd.callouts.api import include_directory

setup(ext_modules=cythonize([Extension("counted_ports", ["counted_ports.pyx"], include_dirs=[include_directory()])]))
