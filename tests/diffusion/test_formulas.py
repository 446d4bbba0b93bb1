import pytest

import diffusion_checks
import videodiff.diffusion


@pytest.mark.parametrize("check", diffusion_checks.CHECKS.values(), ids=diffusion_checks.CHECKS)
def test_formula(check):
    check(videodiff.diffusion)
