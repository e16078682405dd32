"""The methods by name. A new one is a file with its builder and an entry here: see CONTRIBUTING.md."""

from recon.methods.entry import INSIDE, INSIDE_TSENG, MethodEntry, PriorUse, Requirement

_ENTRIES = (
    MethodEntry(
        "forward_backward",
        "forward-backward splitting",
        "a gradient step on the data, then the prior's resolvent",
        "forward_backward:build",
        surrogate=Requirement.TAKEN,
        stepsize="(0, 2 / ||A||^2); with a surrogate (0, 2 eta), eta the cocoercivity",
        longest_step=2 * INSIDE,
        copies=9,
    ),
    MethodEntry(
        "tseng",
        "Tseng's forward-backward-forward",
        "forward-backward-forward, which needs no cocoercivity",
        "tseng:build",
        surrogate=Requirement.TAKEN,
        stepsize="(0, 1 / ||A||^2); with a surrogate (0, 1 / ||K A||)",
        longest_step=INSIDE_TSENG,
    ),
    MethodEntry(
        "douglas_rachford",
        "Douglas-Rachford splitting",
        "the resolvents of data term and prior in turn, where the first has a closed form",
        "douglas_rachford:build",
        stepsize="any",
        longest_step=2 * INSIDE,
        free_step=True,
    ),
    MethodEntry(
        "mismatched_douglas_rachford",
        "Douglas-Rachford splitting with a surrogate",
        "the same with a surrogate, for circular blurs; the data map has to be monotone, not cocoercive",
        "mismatched_douglas_rachford:build",
        surrogate=Requirement.NEEDED,
        stepsize="any",
        longest_step=2 * INSIDE,
    ),
    MethodEntry(
        "davis_yin",
        "Davis-Yin three-operator splitting",
        "three operators: the gradient of the data, the prior, and bounds",
        "davis_yin:build",
        bounds=True,
        stepsize="(0, 2 / ||A||^2)",
        longest_step=2 * INSIDE,
        copies=13,
    ),
    MethodEntry(
        "condat_vu",
        "Condat-Vu primal-dual splitting",
        "primal-dual splitting of a penalty g(L x), without an inner iteration",
        "condat_vu:build",
        bounds=True,
        stepsize="any; with the gradient of the data (0, 2 / ||A||^2)",
        copies=20,
    ),
    MethodEntry(
        "chambolle_pock",
        "Chambolle-Pock primal-dual denoising",
        "accelerated primal-dual denoising of volumes by total variation, in place: to a proved distance",
        "chambolle_pock:build",
        bounds=True,
        stepsize="any; it is the first of many",
        copies=7,
    ),
    MethodEntry(
        "fista",
        "accelerated forward-backward (FISTA)",
        "accelerated forward-backward, for proximity operators",
        "fista:build",
        stepsize="(0, 1 / ||A||^2]",
        longest_step=2 * INSIDE,
    ),
    MethodEntry(
        "ista",
        "iterative soft thresholding (ISTA)",
        "proximal gradient steps on an energy, with its duality gap",
        "ista:build",
        stepsize="(0, 2 / ||A||^2)",
        longest_step=2 * INSIDE,
        copies=9,
    ),
    MethodEntry(
        "oista",
        "iterative soft thresholding with oracle steps",
        "ISTA with steps as long as the zero coefficients of wavelet or l1 allow",
        "ista:build_oracle",
        stepsize="(0, 1 / ||A||^2]; longer ones are tried from there",
        longest_step=2 * INSIDE,
        copies=15,
    ),
    MethodEntry(
        "slista",
        "iterative soft thresholding with learned steps",
        "ISTA with learned steps, slista:folder=DIR of recon train, where the energy falls with them",
        "ista:build_learned",
        stepsize="(0, 1 / ||A||^2], that of ISTA where the energy does not fall with a learned one",
        longest_step=2 * INSIDE,
        options=frozenset({"folder"}),
        copies=13,
    ),
    MethodEntry(
        "fbp",
        "filtered back-projection",
        "filtered back-projection; FDK of a cone",
        "fbp:build",
        prior=PriorUse.NONE,
        closed_form=True,
        options=frozenset({"window"}),
        weighted_rays=False,
        copies=8,
        volume_copies=(26, 36),
    ),
    MethodEntry(
        "unrolled",
        "unrolled network",
        "a few learned steps of forward-backward or primal-dual, by recon train: unrolled:folder=DIR; with "
        "symmetries=2, 4 or 8 the mean over symmetric copies; no guarantee",
        "unrolled:build",
        prior=PriorUse.POLISHING,
        closed_form=True,
        options=frozenset({"folder", "symmetries"}),
        weighted_rays=False,
        copies=80,
    ),
    MethodEntry(
        "sirt",
        "simultaneous iterative reconstruction (SIRT)",
        "simultaneous iterative reconstruction: gradient steps, weighted by row and column sums",
        "sirt:build",
        prior=PriorUse.BOX,
        stepsize="(0, 2)",
        volume_copies=(29, 40),
    ),
    MethodEntry(
        "cgls",
        "conjugate gradients (CGLS)",
        "conjugate gradients on the normal equations",
        "cgls:build",
        prior=PriorUse.NONE,
        copies=13,
        volume_copies=(29, 40),
    ),
    MethodEntry(
        "ab_gmres",
        "GMRES, surrogate on the right (AB-GMRES)",
        "restarted GMRES with a surrogate K as preconditioner: A K z = y",
        "gmres:build_ab",
        prior=PriorUse.NONE,
        surrogate=Requirement.NEEDED,
        copies=30,
    ),
    MethodEntry(
        "ba_gmres",
        "GMRES, surrogate on the left (BA-GMRES)",
        "restarted GMRES on K A x = K y with a surrogate K",
        "gmres:build_ba",
        prior=PriorUse.NONE,
        surrogate=Requirement.NEEDED,
        copies=30,
    ),
)

ENTRIES: dict[str, MethodEntry] = {entry.name: entry for entry in _ENTRIES}
"""Each by its name, those with a prior first."""


def with_prior() -> tuple[str, ...]:
    """The names of the methods that take priors in general."""
    return tuple(name for name, entry in ENTRIES.items() if entry.takes_prior)


def without_prior() -> tuple[str, ...]:
    """The names of those that take none: a quick look, and what others compare with."""
    return tuple(name for name, entry in ENTRIES.items() if not entry.takes_prior)
