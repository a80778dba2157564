# Sourced by the recipes that test the GPU: a Vulkan driver that needs no GPU, and where it keeps its compiled shaders.
# VK_DRIVER_FILES set to another driver's file tests that one instead.
if [ -z "${VK_DRIVER_FILES:-}" ]; then
	driver=(/usr/share/vulkan/icd.d/lvp_icd*.json)
	if [ ! -e "${driver[0]}" ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
		echo "Installing Mesa's software Vulkan driver for the tests of the GPU." >&2
		{ apt-get update && apt-get install -y --no-install-recommends mesa-vulkan-drivers libvulkan1; } >/dev/null ||
			echo "It could not be installed." >&2
		driver=(/usr/share/vulkan/icd.d/lvp_icd*.json)
	fi
	if [ -e "${driver[0]}" ]; then
		export VK_DRIVER_FILES="${driver[0]}" VK_ICD_FILENAMES="${driver[0]}"
	else
		echo "Tests of the GPU may be off: no software Vulkan driver (Debian: apt-get install mesa-vulkan-drivers)." >&2
	fi
fi
export FRACTAL_CORE_ALLOW_SOFTWARE=1 MESA_SHADER_CACHE_DIR="${MESA_SHADER_CACHE_DIR:-$PWD/target/mesa-cache}"
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
	# The driver complains without one.
	export XDG_RUNTIME_DIR="$PWD/target/runtime"
	mkdir -p "$XDG_RUNTIME_DIR" && chmod 700 "$XDG_RUNTIME_DIR"
fi
