"""Programs with known answers: what the limit of each output is, how exactly it is known, and from where.

`KNOWN` lists the cases. The numbers are literals; `python tests/helpers/known_answers.py` recomputes them without the compiler,
by the functions of `known_answer_references.py`, and compares. The K numbers count known-answer tests collected from
the Tensor Programs papers; x_*.tp are further ones, solved here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import known_answer_references as references
import numpy as np
from places import PROGRAMS
from scipy.special import erf


@dataclass(frozen=True)
class Case:
    """One program with its settings and data, and for every output the value and its uncertainty."""

    name: str
    program: str
    settings: dict
    data: dict
    expected: dict  # output -> (number or nested list, tolerance)
    note: str
    reference: Callable[[], dict] = field(repr=False)

    @property
    def path(self) -> Path:
        return PROGRAMS / self.program


def _gram(diagonal: float, *others: float) -> list[list[float]]:
    """A symmetric matrix from the value on its diagonal and the entries 01, 02, 12."""
    a, b, c = others
    return [[diagonal, a, b], [a, diagonal, c], [b, c, diagonal]]


RELU_NNGP = [
    _gram(1, 0.608997781044, 0.318309886184, 0.880842779579),
    _gram(1, 0.683905650899, 0.4937310902, 0.893261729059),
    _gram(1, 0.738128192301, 0.604825720113, 0.903783922817),
    _gram(1, 0.778895137394, 0.680953533356, 0.912784337492),
    _gram(1, 0.810454201005, 0.735946350628, 0.920548280088),
]
RELU_NTK = [
    _gram(2, 0.942331114378, 0.318309886184, 1.602530616066),
    _gram(3, 1.351479561123, 0.685708636283, 2.244232387262),
    _gram(4, 1.737844679215, 1.060388106803, 2.814947536972),
    _gram(5, 2.107112538397, 1.43039049721, 3.331449701597),
    _gram(6, 2.462893132458, 1.792195966845, 3.805824466698),
]

# --- the cases -------------------------------------------------------------------------------------------------

KNOWN = [
    Case(
        "rnn_erf", "k06_rnn_erf.tp", {}, references.RNN_DATA,
        {"H": ([[1, 0.5, 0.2], [0.5, 1.464559054398, 0.688153852318], [0.2, 0.688153852318, 1.535568891227]], 0),
         "E": ([[0.464559054398, 0.188153852318, 0.073025478194], [0.188153852318, 0.535568891227, 0.223645505338],
                [0.073025478194, 0.223645505338, 0.544113493268]], 0)},
        "K6, exact chain of arcsines", references.rnn,
    ),
    Case(
        "rnn_erf_untied", "k06_rnn_erf_untied.tp", {}, references.RNN_DATA,
        {"H": ([[1, 0.5, 0.2], [0.5, 1.464559054398, 0.5], [0.2, 0.5, 1.535568891227]], 0)},
        "K6 with untied matrices", lambda: references.rnn(tied=False),
    ),
    Case(
        "rnn_constant_input", "k07_rnn_constant_input.tp", {}, {},
        {"H": ([[1, 1, 1], [1, 1.464559054398, 1.395878006687], [1, 1.395878006687, 1.535568891227]], 0)},
        "K7", references.rnn_constant,
    ),
    Case(
        "rnn_no_input", "k08_rnn_no_input.tp", {}, {},
        {"H": ([[1, 0, 0, 0, 0, 0], [0, 0.464559054398, 0, 0, 0, 0], [0, 0, 0.319909009681, 0, 0, 0],
                [0, 0, 0, 0.255171840475, 0, 0], [0, 0, 0, 0, 0.219432487414, 0],
                [0, 0, 0, 0, 0, 0.197318115879]], 0)},
        "K8", references.rnn_no_input,
    ),
    Case(
        "layernorm", "k09_layernorm.tp", {}, {"rho": [0.5, 0.0, -0.5]},
        {"m": (0.398942280401, 0), "variance": (0.340845056908, 0), "mean_y": (0, 0), "norm_y": (1, 0),
         "k": ([0.426422342013, 0, -0.307048761449], 0)},
        "K9", references.layernorm,
    ),
    Case(
        "wishart", "k13_wishart_moments.tp", {}, {},
        {"vz": (1, 0), "zz": (2, 0), "yy": (1, 0), "catalan": ([1, 1, 2, 5, 14, 42], 0)},
        "K13, Catalan numbers", references.wishart,
    ),
    Case(
        "rectangular_half", "k15_rectangular_half.tp", {}, {},
        {"mp": ([1, 1, 1.5, 2.75, 5.625, 12.3125], 0)},
        "K15, Narayana polynomials at 1/2", lambda: references.marchenko_pastur(0.5),
    ),
    Case(
        "rectangular_double", "k15_rectangular_double.tp", {}, {},
        {"mp": ([1, 1, 3, 11, 45, 197], 0)},
        "K15, Narayana polynomials at 2", lambda: references.marchenko_pastur(2),
    ),
    Case(
        "transpose_response", "k17_transpose_response.tp", {}, {},
        {"tanh_vq": (0.605705509602, 0), "tanh_qq": (0.76117365476, 0), "relu_vq": (0.5, 0), "relu_qq": (0.75, 0),
         "step_vq": (0.398942280401, 0), "step_qq": (0.659154943092, 0), "sign_vq": (0.797884560803, 0),
         "sign_qq": (1.636619772368, 0), "square_vq": (0, 0), "square_qq": (3, 0), "cube_vq": (3, 0),
         "cube_qq": (24, 0)},
        "K17", references.transpose_response,
    ),
    Case(
        "gradient_independence", "k18_gradient_independence.tp", {}, {},
        {"dx_mean": (2, 0), "dx_second": (8, 0), "dxv_mean": (0, 0), "dxv_second": (4, 0), "g_mean": (2, 0),
         "g_second": (8, 0), "gv_mean": (0, 0), "gv_second": (4, 0)},
        "K18, TP II section 6.3", references.gradient_independence,
    ),
    Case(
        "onsager", "k22_onsager.tp", {}, {},
        {"v1": (0.438007052537, 0), "v2": (0.336157336361, 0), "c12": (0.106189738255, 0), "dot": (0, 0),
         "b": (0.663842663639, 0), "plain_dot": (0.290767768449, 0)},
        "K22, state evolution by quadrature", references.onsager,
    ),
    Case(
        "linear_mup_eta1.0", "k23_linear_mup.tp", {"eta": 1.0, "T": 5}, {},
        {"f": ([0, 2, 0, 0, 0, 0], 0)},
        "K23, TP IV Corollary 6.2", lambda: references.linear_mup(1.0, 5),
    ),
    Case(
        "linear_mup_eta0.5", "k23_linear_mup.tp", {"eta": 0.5, "T": 5}, {},
        {"f": ([0, 1, 1, 1, 1, 1], 0)},
        "K23, TP IV Corollary 6.2", lambda: references.linear_mup(0.5, 5),
    ),
    Case(
        "linear_mup_eta0.3", "k23_linear_mup.tp", {"eta": 0.3, "T": 5}, {},
        {"f": ([0, 0.6, 0.87024, 0.968855084059, 0.993594165099, 0.998738760394], 0)},
        "K23, TP IV Corollary 6.2", lambda: references.linear_mup(0.3, 5),
    ),
    Case(
        "linear_mup_eta0.1", "k23_linear_mup.tp", {"eta": 0.1, "T": 5}, {},
        {"f": ([0, 0.2, 0.36288, 0.497952486106, 0.609553567445, 0.700420492608], 0)},
        "K23, TP IV Corollary 6.2", lambda: references.linear_mup(0.1, 5),
    ),
    Case(
        "relu_mup", "k24_relu_mup.tp", {}, {},
        {"f": ([0, 0.909154943092], 0)},
        "K24", references.relu_mup,
    ),
    Case(
        "tanh_mup_eta0.5", "k25_tanh_mup.tp", {"eta": 0.5}, {},
        {"f": ([0, 0.401021035336], 0)},
        "K25", lambda: references.smooth_mup(np.tanh, references.tanh_slope, 0.5),
    ),
    Case(
        "tanh_mup_eta1.0", "k25_tanh_mup.tp", {"eta": 1.0}, {},
        {"f": ([0, 0.708191169613], 0)},
        "K25", lambda: references.smooth_mup(np.tanh, references.tanh_slope, 1.0),
    ),
    Case(
        "erf_mup_eta0.5", "k25_erf_mup.tp", {"eta": 0.5}, {},
        {"f": ([0, 0.469785292261], 0)},
        "K25", lambda: references.smooth_mup(erf, references.erf_slope, 0.5),
    ),
    Case(
        "erf_mup_eta1.0", "k25_erf_mup.tp", {"eta": 1.0}, {},
        {"f": ([0, 0.800069489894], 0)},
        "K25", lambda: references.smooth_mup(erf, references.erf_slope, 1.0),
    ),
    Case(
        "square_mup_eta0.1", "k25_square_mup.tp", {"eta": 0.1}, {},
        {"f": ([0, 0.712], 0)},
        "K25", lambda: references.smooth_mup(np.square, lambda z: 2 * z, 0.1),
    ),
    Case(
        "square_mup_eta0.25", "k25_square_mup.tp", {"eta": 0.25}, {},
        {"f": ([0, 1.9375], 0)},
        "K25", lambda: references.smooth_mup(np.square, lambda z: 2 * z, 0.25),
    ),
    Case(
        "linear_two_hidden_eta1.0", "k26_linear_two_hidden.tp", {"eta": 1.0}, {},
        {"f": ([0, 3], 0), "h1h1": (6, 0), "h1v": (2, 0)},
        "K26", lambda: references.linear_two_hidden(1.0),
    ),
    Case(
        "linear_two_hidden_eta0.5", "k26_linear_two_hidden.tp", {"eta": 0.5}, {},
        {"f": ([0, 1.5], 0), "h1h1": (2.25, 0), "h1v": (1, 0)},
        "K26", lambda: references.linear_two_hidden(0.5),
    ),
    Case(
        "relu_two_hidden", "k27_relu_two_hidden.tp", {}, {},
        {"f": ([0, 0.61370590815], 0)},
        "K27", references.relu_two_hidden,
    ),
    Case(
        "tanh_two_hidden_one_step_eta0.5", "k28_tanh_two_hidden.tp", {"eta": 0.5, "T": 1}, {},
        {"f": ([0, 0.345848], 2e-06), "back": ([0, 0.1060278], 6e-06), "response": ([0, -0.3208638], 8e-06)},
        "K28, one step", lambda: references.tanh_two_hidden(0.5, 1),
    ),
    Case(
        "tanh_two_hidden_one_step", "k28_tanh_two_hidden.tp", {"eta": 1.0, "T": 1}, {},
        {"f": ([0, 0.5616704], 2e-06), "back": ([0, 0.137933], 2e-05), "response": ([0, -0.384008], 2e-05)},
        "K28, one step", lambda: references.tanh_two_hidden(1.0, 1),
    ),
    Case(
        "tanh_two_hidden_two_steps", "k28_tanh_two_hidden.tp", {"eta": 1.0, "T": 2}, {},
        {"f": ([0, 0.5616699, 0.8123104], 7e-06), "back": ([0, 0.137934, 0.1786697], 9e-06),
         "response": ([0, -0.384005, -0.502164], 2e-05)},
        "K28, two steps: corrects TP IV, Theorem 6.4", lambda: references.tanh_two_hidden(1.0, 2),
    ),
    Case(
        "lasso_amp", "k35_lasso_amp.tp", {"alpha": 1.5, "T": 10}, {},
        {"tau2": ([0.4, 0.358915077287, 0.351819523073, 0.350513514294, 0.350270255769, 0.350224845548,
                   0.350216365094, 0.350214781229, 0.350214485411, 0.350214430162], 0),
         "mse": ([0.128, 0.101705649464, 0.097164494767, 0.096328649148, 0.096172963692, 0.096143901151,
                  0.09613847366, 0.096137459986, 0.096137270663, 0.096137235303, 0.096137228699], 0),
         "active_part": ([0.184782514804, 0.189207859364, 0.190044221869, 0.190200671806, 0.190229899749,
                          0.190235358916, 0.190236378534, 0.190236568968, 0.190236604535, 0.190236611178], 0)},
        "K35, state evolution by quadrature", references.lasso_amp,
    ),
    Case(
        "z2_amp", "k35_z2_amp.tp", {"lam": 1.5, "gamma0": 0.1, "T": 7}, {},
        {"gamma": ([0.1, 0.205516352711, 0.389401282126, 0.65397703015, 0.949932949252, 1.201965112375,
                    1.370755894132, 1.465901945792], 0),
         "overlap": ([0.091340601205, 0.173067236501, 0.290656457844, 0.42219242189, 0.534206716611, 0.609224841837,
                      0.651511975907], 0),
         "square_norm": ([0.091340601205, 0.173067236501, 0.290656457844, 0.42219242189, 0.534206716611,
                          0.609224841837, 0.651511975907], 0)},
        "K35, state evolution by quadrature", references.z2_amp,
    ),
    Case(
        "momentum_vector", "x_momentum_vector.tp", {}, {},
        {"f": ([0, 0.2, 0.54432, 0.963659529147, 1.364359848285, 1.618908069057, 1.632315474334], 0),
         "uu": (1.439391070311, 0)},
        "coefficients on two Gaussians", references.momentum_vector,
    ),
    Case(
        "momentum_matrix", "x_momentum_matrix.tp", {}, {},
        {"f": ([0, 0.3, 0.61690451, 0.916985240001, 1.137029537096], 0), "vMu": (-1.525448791764, 0)},
        "exact coefficients", references.momentum_matrix,
    ),
    Case(
        "tied_linear", "x_tied_linear.tp", {}, {},
        {"f": ([0, 0.8, 1.03906025472, 0.983601850451], 0)},
        "exact coefficients", references.tied_linear,
    ),
    Case(
        "weight_decay", "x_weight_decay.tp", {}, {},
        {"f": ([0, 0.56, 0.771247943987, 0.847787431681, 0.867604332101], 0),
         "norm": ([0.9868, 1.064715806714, 1.031769422174, 0.95087481825, 0.867034444764], 0)},
        "exact coefficients", references.weight_decay,
    ),
    Case(
        "copy_diverges", "x_copy_diverges.tp", {}, {},
        {"aa": (2, 0), "ab": (2, 0), "bb": (4, 0), "av": (-1, 0), "cd": (2, 0), "cc": (1, 0), "dd": (4, 0),
         "ee": (4, 0), "ea": (0, 0), "rr": (6, 0), "rs": (8, 0), "ss": (16, 0), "ru": (2, 0), "su": (2, 0)},
        "exact coefficients", references.copy_diverges,
    ),
    Case(
        "word_embedding", "x_word_embedding.tp", {}, references.WORD_DATA,
        {"f": ([0, 0, 0, 0, 0, 0.4, 0, -0.003424, -0.165013594112, 0.410068276224, 0.377568298588, 0.01105739663,
                0.39258665514, -0.013400807704, 0.028988966737, 0.438352208229], 0),
         "score": ([[0.395465215409, 0.237742500995, 0.172001356488],
                    [-0.388566973991, -0.174669147596, 0.690600248434],
                    [0.22339884079, -0.141956448711, 0.388912242477]], 0),
         "uu": ([[0.931405255327, -0.042568192731, 0.066620334176], [-0.042568192731, 1.210493367586, 0.098969305353],
                 [0.066620334176, 0.098969305353, 0.927953444441]], 0)},
        "coefficients on six Gaussians", references.word_embedding,
    ),
    Case(
        "word_embedding_grad", "x_word_embedding_grad.tp", {}, references.WORD_DATA,
        {"f": ([0, 0, 0, 0, 0, 0.4, 0, -0.003424, -0.165013594112, 0.410068276224, 0.377568298588, 0.01105739663,
                0.39258665514, -0.013400807704, 0.028988966737, 0.438352208229], 0),
         "score": ([[0.395465215409, 0.237742500995, 0.172001356488],
                    [-0.388566973991, -0.174669147596, 0.690600248434],
                    [0.22339884079, -0.141956448711, 0.388912242477]], 0),
         "uu": ([[0.931405255327, -0.042568192731, 0.066620334176], [-0.042568192731, 1.210493367586, 0.098969305353],
                 [0.066620334176, 0.098969305353, 0.927953444441]], 0)},
        "coefficients on six Gaussians", references.word_embedding,
    ),
    Case(
        "comprehensions", "x_comprehensions.tp", {}, {},
        {"e_max": (0.846284375322, 0), "e_max2": (1.275664447711, 0), "e_min": (-0.846284375322, 0),
         "e_maxmin": (-0.551328895422, 0), "e_prod": (1, 0), "e_sum2": (3, 0), "e_mean2": (0.333333333333, 0),
         "e_pairs2": (3, 0), "s_max": (5, 0), "s_min": (1, 0), "s_prod": (10, 0), "s_sum": (6, 0)},
        "order statistics of three normals", references.comprehensions,
    ),
    Case(
        "if_blocks", "x_if_blocks.tp", {}, {},
        {"norm": ([1, 4.25, 4.5, 1.625, 1.625], 0), "along": ([0, 2, 0.5, -0.75, 0], 0)},
        "exact coefficients", references.if_blocks,
    ),
    Case(
        "backward_loop", "x_backward_loop.tp", {}, {},
        {"forward": ([1, 0.788588980796, 0.703060356633, 0.66256247418, 0.641921803379], 0),
         "backward": ([1.076057308699, 1.158538526597, 1.141475934803, 1.079499647724, 1], 0),
         "automatic": ([1.076057308699, 1.158538526597, 1.141475934803, 1.079499647724, 1], 0),
         "mixed": ([1.076057308699, 1.158538526597, 1.141475934803, 1.079499647724, 1], 0)},
        "quadrature, layer by layer", references.backward_loop,
    ),
    Case(
        "deep_linear_one_step", "x_deep_linear_family.tp", {"T": 1}, {},
        {"f": ([0, 0.5], 0), "norm": ([[1, 1, 1, 1], [1.01, 1.05, 1.14, 1.3]], 0)},
        "exact coefficients", lambda: references.deep_linear(1),
    ),
    Case(
        "deep_linear_three_steps", "x_deep_linear_family.tp", {"T": 3}, {},
        {"f": ([0, 0.5, 0.827394108844, 0.982124326731], 0),
         "norm": ([[1, 1, 1, 1], [1.01, 1.05, 1.14, 1.3], [1.06325, 1.21923449125, 1.503236793105, 1.959283758715],
                   [1.092396344866, 1.312608811809, 1.708572666078, 2.345188797726]], 0)},
        "exact coefficients", lambda: references.deep_linear(3),
    ),
    Case(
        "functions", "x_functions.tp", {}, {},
        {"aa": (0.703060356633, 0), "bb": (0.66256247418, 0), "ac": (0.385361732502, 0), "ab": (0, 0),
         "same": (1, 0)},
        "quadrature", references.functions,
    ),
    Case(
        "user_derivative", "x_user_derivative.tp", {}, {},
        {"p0": (0.206620964142, 0), "p1": (0.5, 0), "p2": (0.350845444325, 0), "p11": (0.379482351633, 0),
         "q0": (0.394294490398, 0), "q1": (1.5, 0), "q2": (0.363595376281, 0), "q11": (7.050203812004, 0),
         "stein": (0.5, 0)},
        "quadrature", references.user_derivative,
    ),
    Case(
        "initial_laws", "x_initial_laws.tp", {}, {},
        {"ma": ([0.5, 2.25, 3.125, 15.0625], 0), "mb": ([0, 1, 0, 1], 0), "mc": ([1, 2.333333333333, 5, 12.2], 0),
         "md": ([0.3, 0.3, 0.3, 0.3], 0), "ms": ([0, 1, 0, 12], 0), "mk": ([1.5, 2.25, 3.375, 5.0625], 0),
         "ac": (0.5, 0), "bdk": (0.45, 0), "s_abs": (0.398942280401, 0)},
        "moments of the laws", references.initial_laws,
    ),
    Case(
        "tied_rectangular", "x_tied_rectangular.tp", {}, {},
        {"hh": (1, 0), "xr": (1.211411019204, 0), "rr": (2.256105638245, 0), "hk": (1.817116528806, 0),
         "kt": (1.128052819123, 0), "kk": (4.117916786093, 0)},
        "Z-rules by hand, quadrature", references.tied_rectangular,
    ),
    Case(
        "one_hidden_tanh", "x_one_hidden_tanh.tp", {}, references.SMALL_BATCH,
        {"f": ([[0, 0], [0.1180491, -0.136891], [0.2218812, -0.2504424], [0.316117, -0.3488593],
                [0.4023654, -0.4364045], [0.4810363, -0.5148931], [0.5521663, -0.5850636], [0.6157879, -0.6473072],
                [0.6720731, -0.7019889], [0.7213618, -0.7495582], [0.7641336, -0.7905614]], 1e-06),
         "loss": ([0.5, 0.3806986, 0.2918264, 0.22292, 0.1687017, 0.126163, 0.0931818, 0.0680028, 0.0490867,
                   0.0350901, 0.0248744], 1e-06)},
        "Gauss-Hermite grid in three Gaussians", references.one_hidden_tanh,
    ),
    Case(
        "two_hidden_tanh", "x_two_hidden_tanh.tp", {}, references.SMALL_BATCH,
        {"f": ([[0, 0], [0.070543, -0.078535], [0.136024, -0.149288], [0.198826, -0.215051],
                [0.259836, -0.277497]], 5e-05), "loss": ([0.5, 0.428247, 0.367541, 0.314506, 0.267463], 2e-05)},
        "2**17 particles, 8 scramblings", references.two_hidden_tanh,
    ),
    Case(
        "relu_nngp", "k04_relu_nngp.tp", {}, references.UNIT_VECTORS, {"Sigma": (RELU_NNGP, 0)},
        "K4", lambda: {"Sigma": references.relu_kernels()["Sigma"]},
    ),
    Case(
        "relu_ntk", "k05_relu_ntk.tp", {}, references.UNIT_VECTORS, {"Sigma": (RELU_NNGP, 0), "Theta": (RELU_NTK, 0)},
        "K5", references.relu_kernels,
    ),
    Case(
        "rnn_kernels", "k06_rnn_kernels.tp", {}, references.RNN_DATA,
        {"Sigma": ([[0.464559054398, 0.188153852318, 0.073025478194],
                    [0.188153852318, 0.535568891227, 0.223645505338],
                    [0.073025478194, 0.223645505338, 0.544113493268]], 0),
         "Theta": ([[1.03396908913, 0.381984591056, 0.146372939936],
                    [0.381984591056, 1.52445948845, 0.522689085337],
                    [0.146372939936, 0.522689085337, 1.74682155823]], 0)},
        "K6 with a readout at every time", references.rnn_kernels,
    ),
    Case(
        "attention", "k11_attention.tp", {}, references.TOKENS,
        {"gram": ([[0.606706040534, 0.495282410233, 0.308737014317],
                   [0.495282410233, 0.455706788342, 0.244179672979],
                   [0.308737014317, 0.244179672979, 0.707108873562]], 0)},
        "K11", references.attention,
    ),
    Case(
        "pooled_convolution", "k12_pooled_convolution.tp", {}, references.PIXELS,
        {"sigma": (0.244366207319, 0), "theta": (0.369366207319, 0)},
        "K12", references.pooled_convolution,
    ),
]


# --- recomputing -----------------------------------------------------------------------------------------------


def disagreements(case: Case) -> list[str]:
    """Outputs whose literal differs from the recomputed value by more than the two uncertainties."""
    found = []
    for name, computed in case.reference().items():
        value, uncertainty = computed if isinstance(computed, tuple) else (computed, 0.0)
        literal, tolerance = case.expected[name]
        gap = np.max(np.abs(np.array(value, dtype=float) - np.array(literal, dtype=float)))
        if not gap <= 2e-11 * (1 + np.max(np.abs(literal))) + tolerance + uncertainty:
            found.append(f"{case.name}: {name} is {value}, not {literal}")
    return found


def main() -> int:
    found = [line for case in KNOWN for line in disagreements(case)]
    print("\n".join(found) or f"{len(KNOWN)} cases agree")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
