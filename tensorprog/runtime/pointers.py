"""Addresses and names of compiled functions, so that one compiled driver serves every function.

Numba compiles a function anew for every function that it is given, and optimizes again what a function calls. A driver that
takes an address and is called by a name is compiled once; the address is that of a function in the module that calls it,
and the name is the same in every process, so that both can be kept in Numba's cache.
"""

from __future__ import annotations

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numpy import intp

from tensorprog.runtime.compiling import intrinsic

_NUMBERS = types.Array(types.float64, 1, "C")

#: What `address_of` and `call` are for: a function of a number and of numbers.
SIGNATURE = types.float64(types.float64, _NUMBERS)


def address_intrinsic(signature):
    """A function for compiled code, which gives the address of a compiled function for a signature."""

    @intrinsic
    def address(typingctx, function):

        def generate(context, builder, _, args):
            found = function.dispatcher.get_compile_result(signature)
            declared = context.declare_function(builder.module, found.fndesc)
            context.active_code_library.add_linking_library(found.library)
            return builder.ptrtoint(declared, ir.IntType(8 * intp(0).itemsize))

        return types.intp(function), generate

    return address


def call_intrinsic(signature):
    """A function for compiled code, which calls what is at an address, with two arguments; it must not raise."""

    @intrinsic
    def call_at(typingctx, address, first, second):

        def generate(context, builder, _, args):
            kind = context.call_conv.get_function_type(signature.return_type, signature.args)
            function = builder.inttoptr(args[0], kind.as_pointer())
            return context.call_conv.call_function(builder, function, signature.return_type, signature.args, args[1:])[1]

        return signature.return_type(types.intp, *signature.args), generate

    return call_at


def published(name, signature, function):
    """A function for compiled code, which calls a compiled function of an array and three more by a name; in this process
    the name stands for it from now on, and for cached code too."""
    found = function.get_compile_result(signature)
    llvmlite.binding.add_symbol(name, found.library.get_pointer_to_function(found.fndesc.llvm_func_name))

    @intrinsic
    def call_by_name(typingctx, addresses, covariance, determinant, planes, numbers, free):

        def generate(context, builder, _, args):
            kind = context.call_conv.get_function_type(signature.return_type, signature.args)
            function = get_or_insert_function(builder.module, kind, name)
            return context.call_conv.call_function(builder, function, signature.return_type, signature.args, args)[1]

        return signature, generate

    return call_by_name


address_of = address_intrinsic(SIGNATURE)
call = call_intrinsic(SIGNATURE)
