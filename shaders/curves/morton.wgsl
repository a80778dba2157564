// Morton curve: the coordinates as they are.

fn place2(p: vec2<u32>) -> vec2<u32> {
    return p;
}

fn point_of_place2(place: vec2<u32>) -> vec2<u32> {
    return place;
}

fn place3(p: vec3<u32>) -> vec3<u32> {
    return p;
}

fn point_of_place3(place: vec3<u32>) -> vec3<u32> {
    return place;
}
