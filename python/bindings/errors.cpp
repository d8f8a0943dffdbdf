// The exceptions of error.h as Python classes, which are also what a Python caller would expect.
#include "bindings.h"
#include "coppice/error.h"

namespace nb = nanobind;

namespace coppice::python {
namespace {

// Set once while the module is made; the module keeps the classes alive.
struct Classes {
  PyObject* error = nullptr;
  PyObject* invalid_argument = nullptr;
  PyObject* file_error = nullptr;
  PyObject* device_error = nullptr;
  PyObject* cancelled = nullptr;
};
Classes classes;

PyObject* make_class(nb::module_& module, const char* name, const char* doc, nb::tuple bases) {
  const std::string full = std::string("coppice.") + name;
  PyObject* type = PyErr_NewExceptionWithDoc(full.c_str(), doc, bases.ptr(), nullptr);
  if (type == nullptr) nb::raise_python_error();
  module.attr(name) = nb::steal(type);
  return type;
}

void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const InvalidArgument& error) {
    PyErr_SetString(classes.invalid_argument, error.what());
  } catch (const FileError& error) {
    PyErr_SetString(classes.file_error, error.what());
  } catch (const DeviceError& error) {
    PyErr_SetString(classes.device_error, error.what());
  } catch (const Cancelled& error) {
    PyErr_SetString(classes.cancelled, error.what());
  } catch (const Error& error) {
    PyErr_SetString(classes.error, error.what());
  }
}

}  // namespace

void bind_errors(nb::module_& module) {
  classes.error = make_class(module, "Error", "Base of everything that Coppice raises on purpose.",
                             nb::make_tuple(nb::handle(PyExc_Exception)));
  const auto with = [](PyObject* base) {
    return nb::make_tuple(nb::handle(classes.error), nb::handle(base));
  };
  classes.invalid_argument =
      make_class(module, "InvalidArgument",
                 "A pattern, shape, dtype or option that makes no sense, or arguments that do not "
                 "fit each other.",
                 with(PyExc_ValueError));
  classes.file_error =
      make_class(module, "FileError",
                 "A file that is absent, unreadable, malformed, hostile or could not be written.",
                 with(PyExc_OSError));
  classes.device_error =
      make_class(module, "DeviceError", "A device that is absent, or a device call that failed.",
                 with(PyExc_RuntimeError));
  classes.cancelled = make_class(module, "Cancelled", "The caller asked to stop.",
                                 nb::make_tuple(nb::handle(classes.error)));
  nb::register_exception_translator(translate);
}

}  // namespace coppice::python
