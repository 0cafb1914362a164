"""Segmentation by one atlas: an annotated scan is registered to a query, and its mask moves along.

What needs no network at all: the baseline of everything that learns from one annotated scan.
"""

import SimpleITK as sitk

BINS = 32  # of the joint histogram
LEVELS = ((4, 1.0), (2, 0.3))  # shrinking within slices, share of the voxels that are looked at; coarse first
FIRST_STEP, LAST_STEP = 4.0, 1e-3  # mm
ITERATIONS = 100  # at most, of a level
FLAT = 1e-6  # length of the gradient below which it has arrived


def register(moving: sitk.Image, fixed: sitk.Image, seed: int = 0) -> sitk.Transform:
    """The affine transform from points of the fixed scan to points of the moving one.

    Mattes' mutual information, from coarse slices to fine ones, beginning where the centres of mass meet. Slices are
    thick already and are never left out. On one thread, so that sums and with them the result are always the same.

    Args:
        moving: scan, 3D.
        fixed: scan, 3D.
        seed: of the voxels that are looked at.

    Raises:
        ValueError: the scans cannot be registered, such as those that show nothing.
    """
    moving, fixed = (sitk.Cast(scan, sitk.sitkFloat32) for scan in (moving, fixed))
    try:
        transform = sitk.CenteredTransformInitializer(
            fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
        )
        for factor, share in LEVELS:
            method = sitk.ImageRegistrationMethod()
            method.SetNumberOfThreads(1)
            method.SetMetricAsMattesMutualInformation(BINS)
            method.SetMetricSamplingStrategy(method.RANDOM)
            method.SetMetricSamplingPercentage(share, seed + 1)  # a seed of 0 is the clock
            method.SetInterpolator(sitk.sitkLinear)
            method.SetOptimizerAsRegularStepGradientDescent(
                FIRST_STEP, LAST_STEP, ITERATIONS, gradientMagnitudeTolerance=FLAT
            )
            method.SetOptimizerScalesFromPhysicalShift()
            method.SetInitialTransform(transform, inPlace=True)
            method.Execute(coarser(fixed, factor), coarser(moving, factor))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"the scans could not be registered ({reason}); look whether both show the body.") from None
    return transform


def move_mask(support: sitk.Image, mask: sitk.Image, query: sitk.Image, seed: int = 0) -> sitk.Image:
    """The mask of an annotated scan on the grid of a query, by registration of their images and nearest neighbours.

    Args:
        support: annotated scan, 3D.
        mask: whole numbers on its grid.
        query: scan, 3D.
        seed: as in `register`, which tells the errors too.
    """
    return sitk.Resample(mask, query, register(support, query, seed), sitk.sitkNearestNeighbor, 0.0)


def coarser(scan: sitk.Image, factor: int) -> sitk.Image:
    """A scan with fewer pixels along both sides of its slices, smoothed before; as many slices."""
    columns, rows, _ = scan.GetSpacing()
    factors = [min(factor, side) for side in scan.GetSize()[:2]]
    variances = [(factors[0] * columns / 2) ** 2, (factors[1] * rows / 2) ** 2, 0.0]
    smoothing = sitk.DiscreteGaussianImageFilter()
    smoothing.SetNumberOfThreads(1)
    smoothing.SetVariance(variances)
    return sitk.Shrink(smoothing.Execute(scan), [*factors, 1])
