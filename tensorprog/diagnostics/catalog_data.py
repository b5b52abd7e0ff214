"""TP6xx: data, settings and indices, known when a program is bound. TP7xx: files and the command line."""

from __future__ import annotations

from tensorprog.diagnostics.catalog import CatalogEntry

_INDICES = {
    "TP601": CatalogEntry(
        "index out of range",
        "Indices count from 0 and end one before the length; negative ones do not count from the end. Every index of "
        "every iteration is checked before anything runs, and the first one that fails is named with the values of its "
        "loop variables.",
        "for t in range(P):\n    f[t] = y[t + 1]",
        "for t in range(P - 1):\n    f[t] = y[t + 1]"),
    "TP602": CatalogEntry(
        "read before it is assigned",
        "An element of a family comes into being when it is assigned. This one is read earlier, or is never assigned "
        "at all; so is a name that only a loop or branch assigns that does not run.",
        "h[0] = x\nfor t in range(T):\n    h[ids[t] + 1] = tanh(h[ids[t]])   # ids = 1, 0, 2",
        "h[0] = x\nfor t in range(T):\n    h[t + 1] = tanh(h[t])"),
    "TP603": CatalogEntry(
        "integer arithmetic without a value",
        "An integer expression divides by zero, raises to a negative power, or leaves the 64-bit integers.",
        "for t in range(T):\n    f[t] = y[(P - 1) // t]",
        "for t in range(1, T):\n    f[t] = y[(P - 1) // t]"),
}

_FILES = {
    "TP610": CatalogEntry(
        "data file not found",
        "The file does not exist, or is a folder. Paths are relative to the current folder.",
        "tpc run model.tp dat.npz",
        "tpc run model.tp data.npz"),
    "TP611": CatalogEntry(
        "data file not readable",
        "The file is damaged, is of another kind than its extension says, or holds Python objects. tpc never unpickles "
        "objects, since that would run code from the file.",
        'numpy.save("X.npy", list_of_rows_of_different_length, allow_pickle=True)',
        'numpy.save("X.npy", numpy.array(rows, dtype=float))'),
    "TP612": CatalogEntry(
        "unknown extension",
        "Data files are .npz, .npy or .csv; results are written as .npz, .csv, .json or .nc.",
        "tpc run model.tp X=features.txt",
        "tpc run model.tp X=features.csv"),
    "TP613": CatalogEntry(
        "csv file without numbers",
        "The file has no rows, or only a line of names.",
        "a, b, c",
        "a, b, c\n1, 2, 3"),
    "TP614": CatalogEntry(
        "csv rows of different length",
        "Every row must have the same number of columns, as the first one has.",
        "1, 2, 3\n4, 5",
        "1, 2, 3\n4, 5, 6"),
    "TP615": CatalogEntry(
        "csv cell that is not a number",
        "Columns are separated by commas, and every cell is a number. Only the first line may be names, and then all "
        "of it.",
        "0.5, 1.2, cat",
        "0.5, 1.2, 3"),
    "TP616": CatalogEntry(
        "which input is this file?",
        "A .npz file names its arrays itself. Another file is named by `name=file`, or else by its own name. No input "
        "may be given twice.",
        "tpc run model.tp train-features.npy",
        "tpc run model.tp X=train-features.npy y=labels.csv"),
}

_BINDING = {
    "TP620": CatalogEntry(
        "missing input",
        "The program declares an input for which no array was given.",
        "tpc run model.tp X=features.npy            # the program has `input y : [P]`, too",
        "tpc run model.tp X=features.npy y=labels.csv"),
    "TP621": CatalogEntry(
        "unknown input",
        "An array was given that the program does not declare. Parameters and sizes are settings, not data.",
        "tpc run model.tp x=features.npy            # the program has `input X : [P, d]`",
        "tpc run model.tp X=features.npy"),
    "TP622": CatalogEntry(
        "wrong number of axes",
        "The array has more or fewer axes than the input's declaration. A column of shape [100, 1] is not a list of "
        "shape [100].",
        'program.run({"y": labels.reshape(-1, 1)})  # the program has `input y : [P]`',
        'program.run({"y": labels.reshape(-1)})'),
    "TP623": CatalogEntry(
        "axis of the wrong length",
        "A size has one value in the whole program. It is read off the first input that has it as an axis, or set from "
        "outside, and every other axis must agree.",
        'program.run({"X": X[:100], "y": y[:99]})   # X : [P, d], y : [P]',
        'program.run({"X": X[:100], "y": y[:100]})'),
    "TP624": CatalogEntry(
        "NaN or infinity in an input",
        "One such entry would spread to every output, so it is refused.",
        'program.run({"X": X})                      # X[3, 5] is nan',
        'program.run({"X": numpy.nan_to_num(X)})'),
    "TP625": CatalogEntry(
        "input that is not an array of real numbers",
        "Inputs are arrays of real numbers: no strings, objects, complex numbers, masked entries, sparse matrices or "
        "rows of different length.",
        'program.run({"y": ["cat", "dog"]})',
        'program.run({"y": [0, 1]})'),
    "TP626": CatalogEntry(
        "integer input with fractions",
        "The entries of an `int` input are used as indices, so they must be whole numbers.",
        'program.run({"ids": [0, 1.5, 2]})',
        'program.run({"ids": [0, 1, 2]})'),
    "TP627": CatalogEntry(
        "missing parameter",
        "A parameter that is declared without a default must be set.",
        "tpc run model.tp data.npz                  # the program has `param eta`",
        "tpc run model.tp data.npz --set eta=0.1"),
    "TP628": CatalogEntry(
        "setting of the wrong type",
        "Integer parameters and sizes take whole numbers, real parameters finite real numbers.",
        "tpc run model.tp data.npz --set T=2.5",
        "tpc run model.tp data.npz --set T=3"),
    "TP629": CatalogEntry(
        "undetermined size",
        "A size gets its value from the shape of an input that has it, alone, as an axis, from a setting, or from its "
        "default.",
        "size K",
        "size K = 10"),
    "TP630": CatalogEntry(
        "size that is not positive",
        "Sizes, and integer parameters used as sizes, are at least 1. An empty array gives a size of 0.",
        "tpc run model.tp data.npz --set K=0",
        "tpc run model.tp data.npz --set K=10"),
    "TP631": CatalogEntry(
        "unknown setting",
        "The program has no parameter or size of that name.",
        "tpc run model.tp data.npz --set lr=0.1     # the program has `param eta`",
        "tpc run model.tp data.npz --set eta=0.1"),
    "TP632": CatalogEntry(
        "setting that is fixed already",
        "A setting given to `compile` is built into the compiled program, so that a run cannot change it.",
        'program = tensorprog.compile("model.tp", {"L": 3})\nprogram.run(data, L=4)',
        'program = tensorprog.compile("model.tp")\nprogram.run(data, L=4)'),
    "TP633": CatalogEntry(
        "law without meaning",
        "With the parameters at hand a declared law has a negative variance, a probability outside 0 to 1, or an empty "
        "interval.",
        "tpc run model.tp --set variance=-1",
        "tpc run model.tp --set variance=1"),
    "TP640": CatalogEntry(
        "output that is not finite",
        "From some index on the output is infinite or not a number. In a loop the computation diverged, as training does "
        "when the learning rate is too large; what came before is right. Without a loop an expression is too large for a "
        "number, as exp(1000) is. tpc exits with 1.",
        "tpc run model.tp data.npz --set eta=50",
        "tpc run model.tp data.npz --set eta=0.5"),
    "TP641": CatalogEntry(
        "output that is not a number",
        "The output is not a number, though nothing grows on the way to it: somewhere 0 is divided by 0, or a root or "
        "a logarithm is taken of something negative. A smaller learning rate does not help. tpc exits with 1.",
        "z = moment(v*v) - moment(v*v)\noutput z / z",
        "z = moment(v*v) - moment(v*v)\noutput z / sqrt(z*z + 0.01)"),
    "TP642": CatalogEntry(
        "kernel with few digits",
        "Rows that are nearly equal, or so large that no series converges, cost digits of a kernel. Its errors, of every "
        "element in `.error`, are what they say; other elements are right.",
        "program.kernels(1e9 * X)",
        "program.kernels(X)"),
    "TP643": CatalogEntry(
        "an average with a heavy tail (warning)",
        "Of an exponential, or a high power, of Gaussian vectors the few largest particles carry a good part of the mean, "
        "and most randomizations do not have them. Replicates then agree with each other better than with the limit, so "
        "that two errors cover the value less often than 95 %. The error is right once there are so many samples that "
        "it is small.",
        "tpc run model.tp --method particles --samples 64",
        "tpc run model.tp --method particles --samples 65536"),
    "TP644": CatalogEntry(
        "a second limit that is not there",
        "The values at which `--limit` looks grow, go up and down, or change so slowly that they do not say what they "
        "tend to; a logarithm or a power of the size explains them much better than a series in 1/L or 1/sqrt(L). The "
        "values themselves are in `Result.approach`. tpc exits with 1.",
        "x += tanh(W[l] @ x)",
        "x += tanh(W[l] @ x) / sqrt(L)"),
    "TP645": CatalogEntry(
        "an error that is mostly bias (warning)",
        "Nonlinear functions of averages over particles, and directions of matrices that few particles leave out, shift all "
        "replicates in the same way. The shift is estimated by particles in four parts and is in the reported error. Here it is "
        "larger than the standard error: more replicates do not help, more samples do.",
        "tpc run model.tp --method particles --samples 16 --replicates 256",
        "tpc run model.tp --method particles --samples 4096"),
    "TP646": CatalogEntry(
        "too few particles for a matrix (warning)",
        "A random matrix is known by the directions of the vectors that it was applied to. Where these are more than half as "
        "many as the particles of a replicate, directions are as noisy as what they are used for, and more of each vector is "
        "left out. The error says what that does, as far as fewer particles show it; more samples remove it.",
        "tpc run model.tp data.npz --method particles --samples 64",
        "tpc run model.tp data.npz --method particles --samples 4096"),
}

_COMMAND_LINE = {
    "TP701": CatalogEntry(
        "program file not readable",
        "The file does not exist, cannot be read, or is not UTF-8 text.",
        "tpc check modle.tp",
        "tpc check model.tp"),
    "TP702": CatalogEntry(
        "wrong command line",
        "A command or option does not exist, or lacks its argument. `tpc --help` and `tpc COMMAND --help` list them.",
        "tpc run model.tp --sampels 100",
        "tpc run model.tp --samples 100"),
    "TP703": CatalogEntry(
        "setting given twice",
        "The same name appears in two `--set` options.",
        "tpc run model.tp --set eta=0.1 --set eta=0.2",
        "tpc run model.tp --set eta=0.2"),
    "TP704": CatalogEntry(
        "unknown stage",
        "The stages that can be shown are ast, program, limit, plan and kernel.",
        "tpc compile model.tp --emit kernels",
        "tpc compile model.tp --emit kernel"),
    "TP705": CatalogEntry(
        "unknown code",
        "`tpc explain` without a code lists them all.",
        "tpc explain TP999",
        "tpc explain TP601"),
    "TP706": CatalogEntry(
        "unknown method",
        "`auto` takes the most exact evaluator that applies; `particles` always applies; `span` is exact, for linear "
        "programs; `covariance` is exact or nearly so, for what depends on few Gaussians; `diagonal` is like `span`, where "
        "declared vectors multiply others.",
        "tpc run model.tp --method particle",
        "tpc run model.tp --method particles"),
    "TP707": CatalogEntry(
        "file cannot be written",
        "The folder does not exist, cannot be written to, or is full. An earlier file of that name is unchanged.",
        "tpc run model.tp -o missing_folder/out.npz",
        "tpc run model.tp -o out.npz"),
    "TP708": CatalogEntry(
        "a number out of range",
        "Widths, seeds, samples, replicates and threads are whole numbers from 1, the seed one from 0; a tolerance is a "
        "finite number that is not negative.",
        "program.simulate(data, width=0)",
        "program.simulate(data, width=256)"),
    "TP715": CatalogEntry(
        "a parametrization that is none",
        "A parametrization is a name with a depth, or exponents of n for the multiplier, the initial spread and the "
        "learning rate of every layer, the readout last: as many `a` as `b`, and one `c` or as many.",
        "tpc classify -a 0,0 -b 0,1/2,1/2 -c 1",
        "tpc classify -a 0,0,0 -b 0,1/2,1/2 -c 1"),
    "TP709": CatalogEntry(
        "not enough memory",
        "The run needs more memory than there is. It grows with the samples, the replicates, the width and the data.",
        "tpc run model.tp data.npz --samples 10000000",
        "tpc run model.tp data.npz --samples 4096"),
    "TP710": CatalogEntry(
        "too little to verify with",
        "To compare networks with the limit takes a trend and errors: at least four different widths, three networks "
        "of each, and two replicates of the limit.",
        "tpc verify model.tp data.npz --widths 64,1024",
        "tpc verify model.tp data.npz --widths 64,128,256,512,1024"),
    "TP711": CatalogEntry(
        "unknown kind of picture",
        "Pictures are .png, .pdf or .svg files, by the name's extension.",
        "tpc verify model.tp data.npz --plot convergence.jpg",
        "tpc verify model.tp data.npz --plot convergence.png"),
    "TP712": CatalogEntry(
        "output not covered by the method",
        "`span` needs all vectors in the linear span of the initial ones. `covariance` follows covariances of "
        "Gaussians through closed forms and quadratures in up to three "
        "dimensions. `diagonal` needs all vectors linear, but for products with declared ones. This output depends on more than "
        "that, as after training a nonlinear network.",
        "tpc run trained.tp --method covariance",
        "tpc run trained.tp --method auto"),
    "TP713": CatalogEntry(
        "too many numbers to keep",
        "`covariance` keeps a number for every pair of indices that is met, `diagonal` one for every direction and node of the "
        "laws of the vectors that multiply others; this run meets too many.",
        "tpc run model.tp large.npz --method covariance",
        "tpc run model.tp large.npz --method particles"),
    "TP718": CatalogEntry(
        "a module of a random limit",
        "The limit of this program depends on Gaussian numbers that are drawn with covariances of their own, which `tpc run` "
        "evaluates first. A written module would have to take them from its caller.",
        "tpc compile kernel_regime.tp -o limit.py",
        "tpc run kernel_regime.tp data.npz --draws 100 -o draws.npz"),
    "TP714": CatalogEntry(
        "checkpoint of another run",
        "A checkpoint is the state of one program with its data, settings and seed, and only that run can go on from "
        "it.",
        "tpc run model.tp other.npz --checkpoint state.npz",
        "tpc run model.tp other.npz --checkpoint other_state.npz"),
    "TP716": CatalogEntry(
        "a second limit that cannot be taken",
        "`--limit` takes one size or integer parameter, at least three different values of it, and outputs whose shapes do "
        "not depend on it. Sizes that the data determine do not tend to infinity.",
        "tpc run deep.tp data.npz --limit L=8,16",
        "tpc run deep.tp data.npz --limit L=8,16,32,64"),
}

_POWERS = {
    "TP720": CatalogEntry(
        "powers of n that decide nothing",
        "`tpc mup` determines spreads, multipliers and learning rates from what is used where. Here more than one "
        "choice is possible: only a product of two trained objects is used, or a value of the wrong order is made by "
        "nothing that could get a multiplier.",
        "vector u : [n] ~ normal(0, 1)\nvector v : [n] ~ normal(0, 1)\nf = dot(u * v, tanh(h))\n"
        "u -= eta * grad(f, u)\nv -= eta * grad(f, v)",
        "vector v : [n] ~ normal(0, 1)\nf = dot(v, tanh(h))\nv -= eta * grad(f, v)"),
    "TP726": CatalogEntry(
        "no formulas",
        "Matrices of a registered law with an operator of its own have a limit that is computed, but no recursions that `tpc derive` "
        "could print. Nor have orthogonal matrices of which a loop makes another one without a closed form, as `O = O.T / 2`.",
        "tpc derive rotated.tp",
        "tpc run rotated.tp"),
    "TP721": CatalogEntry(
        "nothing is trained",
        "What is trained is found by its updates: an object to which something made of gradients is added. There is "
        "none, or what is updated has no influence on anything.",
        "loss = (dot(v, tanh(U @ x)) - y)**2\noutput loss",
        "loss = (dot(v, tanh(U @ x)) - y)**2\nv -= eta * grad(loss, v)\noutput loss"),
    "TP722": CatalogEntry(
        "unknown optimizer",
        "The rules are those of SGD (with momentum or not), Adam, AdamW and Muon.",
        "tpc mup model.tp --optimizer adams",
        "tpc mup model.tp --optimizer adam"),
    "TP723": CatalogEntry(
        "a program that cannot be rewritten",
        "`tpc mup --rewrite` changes variances, multiplies expressions, and multiplies what an update adds. Here that "
        "does not suffice: the law has no scale, the update is not of the form `W -= ...` or not proportional to the "
        "gradient, or a function is called in two roles.",
        "vector v : [n] ~ rademacher()\nloss = dot(u, v)**2\nv = v*0.9 - eta*grad(loss, v)",
        "vector v : [n] ~ normal(0, 1)\nloss = dot(u, v)**2\nv -= eta*grad(loss, v)"),
    "TP724": CatalogEntry(
        "too little to measure slopes",
        "A slope with an error takes three different widths, and two networks of each.",
        "tpc scale model.tp --measure --widths 64,128",
        "tpc scale model.tp --measure --widths 64,128,256,512"),
}

ENTRIES = {**_INDICES, **_FILES, **_BINDING, **_COMMAND_LINE, **_POWERS}
