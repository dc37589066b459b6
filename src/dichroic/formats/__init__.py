"""Files of the fields: arrays are read from them with their units, names and headers, and written in their form.

Every kind is one adapter, on the field's own library.
"""

from dichroic.formats.audio import Audio
from dichroic.formats.catalogue import moved, read_catalogue
from dichroic.formats.dataset import WriteNetCDF, as_dataset
from dichroic.formats.fits import FITS
from dichroic.formats.h5ad import H5AD
from dichroic.formats.hdf5 import HDF5
from dichroic.formats.labels import Axis, Labels
from dichroic.formats.netcdf import NetCDF, open_array
from dichroic.formats.numpy_files import NPY, NPZ
from dichroic.formats.opened import Opened, stack
from dichroic.formats.reader import Reader
from dichroic.formats.results import Estimates, ViewResults
from dichroic.formats.seismic import Seismic
from dichroic.formats.sigmf import SigMF
from dichroic.formats.stores import check_size
from dichroic.formats.tiff import TIFF
from dichroic.formats.windows import Windows
from dichroic.formats.write_audio import WriteAudio
from dichroic.formats.write_fits import WriteFITS
from dichroic.formats.write_h5ad import WriteH5AD
from dichroic.formats.write_seismic import WriteSeismic
from dichroic.formats.write_sigmf import WriteSigMF
from dichroic.formats.write_tiff import WriteTIFF
from dichroic.formats.writer import Writer
from dichroic.formats.zarr_store import Zarr

# every kind of file that a problem file can name; the suffix of a name says which
READERS: dict[str, type[Reader]] = {
    "npz": NPZ,
    "npy": NPY,
    "hdf5": HDF5,
    "zarr": Zarr,
    "fits": FITS,
    "h5ad": H5AD,
    "audio": Audio,
    "seismic": Seismic,
    "tiff": TIFF,
    "netcdf": NetCDF,
    "sigmf": SigMF,
}

# every kind of file that results can be written as, beside Zarr and NPZ, which hold them as they are
WRITERS: dict[str, Writer] = {
    "fits": WriteFITS(),
    "h5ad": WriteH5AD(),
    "audio": WriteAudio(),
    "seismic": WriteSeismic(),
    "tiff": WriteTIFF(),
    "sigmf": WriteSigMF(),
    "netcdf": WriteNetCDF(),
}

__all__ = [
    "READERS",
    "WRITERS",
    "Axis",
    "Estimates",
    "Labels",
    "Opened",
    "Reader",
    "ViewResults",
    "Windows",
    "Writer",
    "as_dataset",
    "check_size",
    "moved",
    "open_array",
    "read_catalogue",
    "stack",
]
